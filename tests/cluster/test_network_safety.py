"""What `up --address` demands before a process of a constellation talks over a network."""

from pathlib import Path
from typing import Any

import pytest

from cluster import deployment_spec, launcher_process
from cluster.certificates import make_certificates
from cluster.deployment_spec import advertised, namespace_of
from cluster.network_safety import check_network, host_of_ray
from constellation.errors import ConfigError
from constellation.settings import Settings


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates") / "secrets"
    make_certificates(folder, [])
    (folder / "token").write_text("0123456789abcdef\n", encoding="utf-8")
    return folder


def internal(folder: Path) -> dict[str, Path]:
    return {
        "internal_certificate": folder / "node.crt",
        "internal_key": folder / "node.key",
        "internal_ca": folder / "authority.crt",
    }


def settings(security: dict[str, Any] | None = None, host: str = "127.0.0.1") -> Settings:
    return Settings(security=security or {}, serve={"host": host})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_nothing_is_needed_on_loopback(host: str) -> None:
    check_network(settings(), host, insecure=False)


@pytest.mark.parametrize("host", ["10.0.0.1", "head", "auto", "fd00::1", "0.0.0.0"])
def test_beyond_loopback_a_token_and_certificates_are_needed(host: str, secrets: Path) -> None:
    token = {"token_file": secrets / "token"}
    for insecure in (False, True):
        with pytest.raises(ConfigError, match=r"there is no token.*--token-file"):
            check_network(settings(internal(secrets)), host, insecure=insecure)
    with pytest.raises(ConfigError, match=r"constellation certificates.*--insecure-network"):
        check_network(settings(token), host, insecure=False)
    check_network(settings(token), host, insecure=True)
    check_network(settings({**token, **internal(secrets)}), host, insecure=False)


def test_routers_beyond_loopback_need_tls_for_clients_too(secrets: Path) -> None:
    files = {"token_file": secrets / "token", **internal(secrets)}
    with pytest.raises(ConfigError, match=r"at 0\.0\.0\.0 unencrypted"):
        check_network(settings(files, host="0.0.0.0"), "10.0.0.1", insecure=False)
    files |= {"certificate": secrets / "node.crt", "key": secrets / "node.key"}
    check_network(settings(files, host="0.0.0.0"), "10.0.0.1", insecure=False)


@pytest.mark.parametrize("missing", ["internal_certificate", "internal_key", "internal_ca"])
def test_the_three_files_go_together_and_are_read_before_the_start(
    missing: str, secrets: Path
) -> None:
    files = {name: path for name, path in internal(secrets).items() if name != missing}
    with pytest.raises(ConfigError, match="internal_ca all"):
        check_network(settings(files), "127.0.0.1", insecure=False)
    damaged = {**internal(secrets), missing: secrets / "token"}
    with pytest.raises(ConfigError, match="token"):
        check_network(settings(damaged), "127.0.0.1", insecure=False)


def test_a_cluster_beyond_loopback_is_refused_before_a_process_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher_process, "kernels_of", lambda artifacts: ("a",))
    run_dir = tmp_path / "run"
    for address in ("192.0.2.7:6379", "auto", "[fd00::1]:6379"):
        with pytest.raises(ConfigError, match="there is no token"):
            launcher_process.start(Settings(run_dir=run_dir, artifacts=tmp_path), address=address)
    assert not run_dir.exists()


def test_the_host_of_a_ray_address_is_found_in_every_form() -> None:
    found = [host_of_ray(each) for each in ("10.0.0.1:6379", "[fd00::1]:6379", "auto", "head:1")]
    assert found == ["10.0.0.1", "fd00::1", "auto", "head"]


def test_routers_advertise_an_address_that_clients_can_call() -> None:
    assert advertised(settings(host="127.0.0.1"), "10.0.0.1") == ""
    assert advertised(settings(host="0.0.0.0"), "10.0.0.1") == "10.0.0.1"
    assert advertised(settings(host="::"), "10.0.0.1") == "10.0.0.1"
    assert advertised(settings(host="0.0.0.0"), "") == ""
    named = Settings(serve={"host": "0.0.0.0", "advertise": "stars.example.org"})
    assert advertised(named, "10.0.0.1") == "stars.example.org"
    local = Settings(serve={"port": 0, "advertise": "stars.example.org"})
    spec = deployment_spec.spec_of(local, deployment_spec.Site())
    assert spec.routers[0].endpoint == f"stars.example.org:{spec.routers[0].listen[1]}"
    assert spec.http_url is not None
    assert spec.http_url.startswith("http://stars.example.org:")


def test_a_deployment_of_the_default_name_keeps_the_namespace_of_one_machine() -> None:
    assert [namespace_of(name) for name in ("default", "west")] == [
        "constellation",
        "constellation-west",
    ]


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "x" * 41, "a/b"])
def test_names_of_deployments_are_short_and_plain(name: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|name"):
        Settings(cluster={"name": name})


def test_every_deployment_has_an_id_of_its_own() -> None:
    made = [
        deployment_spec.spec_of(Settings(serve={"port": 0}), deployment_spec.Site())
        for _ in range(2)
    ]
    assert made[0].id != made[1].id
    assert min(len(each.id) for each in made) >= 16
