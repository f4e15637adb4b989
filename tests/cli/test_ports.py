"""Which ports a constellation takes, and with which certificates."""

import socket
from pathlib import Path

import pytest

from cluster import deployment_spec, router_ports
from constellation.errors import ConfigError, DeploymentError
from constellation.settings import SecuritySettings, Settings
from tests.support.certificates import Authority


def settings(**serve: object) -> Settings:
    return Settings(serve=serve)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("serve", "ports", "http_ports"),
    [
        ({}, [50051], [50052]),
        ({"port": 7000}, [7000], [7001]),
        ({"port": 0}, [0], [0]),
        ({"port": 7000, "http_port": 9000}, [7000], [9000]),
        ({"port": 7000, "http_port": 0}, [7000], [0]),
        ({"port": 65_535, "http_port": 1}, [65_535], [1]),
        ({"port": 7000, "http": False}, [7000], [None]),
        ({"port": 7000, "routers": 2}, [7000, 7001], [7002, 7003]),
        ({"port": 7000, "routers": 2, "http_port": 0}, [7000, 7001], [0, 0]),
        ({"port": 0, "routers": 3}, [0, 0, 0], [0, 0, 0]),
        ({"port": 7000, "routers": 2, "http": False}, [7000, 7001], [None, None]),
    ],
)
def test_http_takes_the_ports_after_the_routers_unless_told(
    serve: dict[str, int], ports: list[int], http_ports: list[int | None]
) -> None:
    assert router_ports.ports_of(settings(**serve)) == (ports, http_ports)


@pytest.mark.parametrize(
    ("serve", "key"),
    [
        ({"port": 65_535}, "http_port"),
        ({"port": 65_535, "routers": 2}, "port"),
        ({"port": 1, "http_port": 65_535, "routers": 2}, "http_port"),
    ],
)
def test_beyond_the_last_port_there_is_none(serve: dict[str, int], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"serve\.{key} "):
        router_ports.ports_of(settings(**serve))


def test_a_port_that_is_taken_is_named_with_its_flag() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(DeploymentError, match="--http-port"),
    ):
        router_ports.free_ports(settings(port=0, http_port=server.getsockname()[1]))


def test_ports_of_an_address_of_ip_version_6_are_found_and_named_in_brackets() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        with pytest.raises(DeploymentError, match=rf"cannot listen on \[::1\]:{port}"):
            router_ports.free_ports(settings(host="::1", port=0, http_port=port))
    ports, _ = router_ports.free_ports(settings(host="::1", port=0))
    assert ports[0] > 0


@pytest.mark.parametrize("host", ["198.51.100.7", "no host"])
def test_an_address_that_is_not_of_this_machine_is_no_matter_of_ports(host: str) -> None:
    with pytest.raises(DeploymentError, match="address of this machine with --host") as error:
        router_ports.free_ports(settings(host=host, port=0))
    assert "--port" not in str(error.value)


def test_every_door_has_a_port_of_its_own() -> None:
    with pytest.raises(ConfigError, match="both want port 7001"):
        router_ports.ports_of(settings(port=7000, http_port=7001, routers=2))
    ports, http_ports = router_ports.free_ports(settings(port=0, routers=3))
    assert len({*ports, *http_ports} - {0, None}) == 6


def test_certificates_are_looked_at_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Authority(tmp_path, "authority").sign("server")
    monkeypatch.chdir(tmp_path)
    assert deployment_spec.tls_of(SecuritySettings()) is None
    named = SecuritySettings(certificate=Path("server.pem"), key=Path("server.key"))
    terms = deployment_spec.tls_of(named)
    assert terms is not None
    assert terms.certificate == server.certificate  # whole, since actors run elsewhere
    with pytest.raises(ConfigError, match=r"gone\.pem"):
        deployment_spec.tls_of(
            SecuritySettings(certificate=Path("gone.pem"), key=Path("server.key"))
        )
