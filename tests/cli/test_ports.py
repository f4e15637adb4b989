"""Which ports a constellation takes, and with which certificates."""

import socket
from pathlib import Path

import pytest

from cluster import launcher
from constellation.errors import ConfigError, DeploymentError
from constellation.settings import SecuritySettings, Settings
from tests.support.certificates import Authority


def settings(**serve: object) -> Settings:
    return Settings(serve=serve)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("serve", "port"),
    [
        ({}, 50052),
        ({"port": 7000}, 7001),
        ({"port": 0}, 0),
        ({"port": 7000, "http_port": 9000}, 9000),
        ({"port": 7000, "http_port": 0}, 0),
        ({"port": 65_535, "http_port": 1}, 1),
    ],
)
def test_http_takes_the_next_port_unless_told(serve: dict[str, int], port: int) -> None:
    assert launcher.http_port_of(settings(**serve)) == port


def test_after_the_last_port_there_is_none() -> None:
    with pytest.raises(ConfigError, match=r"serve\.http_port"):
        launcher.http_port_of(settings(port=65_535))


def test_a_port_that_is_taken_is_named_with_its_flag() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(DeploymentError, match="--http-port"),
    ):
        launcher._free_port("127.0.0.1", server.getsockname()[1], "--http-port")


def test_both_doors_need_a_port_of_their_own() -> None:
    free = launcher._free_port("127.0.0.1", 0, "--port")
    with pytest.raises(DeploymentError, match="which is gRPC's"):
        launcher._free_port("127.0.0.1", free, "--http-port", taken=free)
    assert launcher._free_port("127.0.0.1", 0, "--http-port", taken=free) != free


def test_certificates_are_looked_at_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Authority(tmp_path, "authority").sign("server")
    monkeypatch.chdir(tmp_path)
    assert launcher.tls_of(SecuritySettings()) is None
    named = SecuritySettings(certificate=Path("server.pem"), key=Path("server.key"))
    terms = launcher.tls_of(named)
    assert terms is not None
    assert terms.certificate == server.certificate  # whole, since actors run elsewhere
    with pytest.raises(ConfigError, match=r"gone\.pem"):
        launcher.tls_of(SecuritySettings(certificate=Path("gone.pem"), key=Path("server.key")))
