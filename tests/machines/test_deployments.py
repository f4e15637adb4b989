"""A deployment on a cluster lives by itself, and every machine of the cluster finds it by name."""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

import psutil
import pytest

from cluster import launcher_process
from cluster.certificates import make_certificates
from cluster.deployment_process import Named, describe_deployment, end_deployment
from cluster.state_file import running
from cluster.subprocesses import module_command
from constellation import Client
from constellation.client.direct import DirectClient
from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ConfigError, ConstellationError, DeploymentError
from constellation.releases.store import ReleaseStore
from constellation.settings import Settings, child_environment
from tests.machines.raylets import Raylets

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def settings(artifacts: Path, run_dir: Path, **sections: object) -> Settings:
    return Settings(artifacts=artifacts, run_dir=run_dir, serve={"port": 0}, **sections)


def launchers() -> list[psutil.Process]:
    """Return the launchers that run below this process or were left behind by it."""
    return [
        each
        for each in psutil.process_iter(["cmdline"])
        if "cluster.launcher" in (each.info["cmdline"] or ()) and each.uids().real == os.getuid()
    ]


def test_a_deployment_outlives_its_launcher_and_is_found_replaced_and_ended_by_name(
    raylets: Raylets, artifacts: Path, tmp_path: Path
) -> None:
    address, before = raylets.address, launchers()
    first = launcher_process.start(settings(artifacts, tmp_path / "one"), address=address)
    ending = [each for each in launchers() if each not in before]
    assert psutil.wait_procs(ending, timeout=30)[1] == []
    assert first.address == address
    named = Named(address=address, name="default")
    found = describe_deployment(named)
    assert found["deployment"]["endpoints"] == [first.endpoint]
    assert {each["state"] for each in found["members"].values()} == {"up"}
    with Client(first.endpoint) as stars:
        assert stars.ask("import os", tokens_max=4).text

    # Another run folder, as on another machine: the same name is refused, and then replaced.
    with pytest.raises(DeploymentError, match=r"'default' exists .* down .* --replace, .* --name"):
        launcher_process.start(settings(artifacts, tmp_path / "two"), address=address)
    second = launcher_process.start(
        settings(artifacts, tmp_path / "two"), address=address, replace=True
    )
    assert describe_deployment(named)["deployment"]["id"] != found["deployment"]["id"]
    assert running(tmp_path / "one") is None
    with Client(second.endpoint) as stars:
        assert stars.ask("import os", tokens_max=4).text

    end_deployment(named)
    assert running(tmp_path / "two") is None
    with pytest.raises(DeploymentError, match="no deployment named 'default' runs"):
        describe_deployment(named)
    with pytest.raises(DeploymentError, match="no deployment named 'default' runs"):
        end_deployment(named)


TOKEN = "0123456789abcdef0123"
NAME = "west"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates") / "secrets"
    make_certificates(folder, ["127.0.0.1"])
    (folder / "token").write_text(TOKEN + "\n", encoding="utf-8")
    return folder


def security(secrets: Path) -> dict[str, str]:
    names = {
        "token_file": "token",
        "certificate": "node.crt",
        "key": "node.key",
        "ca": "authority.crt",
        "internal_certificate": "node.crt",
        "internal_key": "node.key",
        "internal_ca": "authority.crt",
    }
    return {name: str(secrets / file) for name, file in names.items()}


def command(secrets: Path, *words: str) -> str:
    """Run a command as on another machine, which has the secrets and no run folder."""
    variables = {
        f"CONSTELLATION_SECURITY__{name.upper()}": value
        for name, value in security(secrets).items()
    }
    done = subprocess.run(
        module_command("cluster.cli.main", *words),
        env=child_environment(variables),
        cwd=secrets,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_processes_on_several_nodes_talk_by_tls_and_nobody_else_is_answered(
    raylets: Raylets, artifacts: Path, secrets: Path, tmp_path: Path
) -> None:
    address = raylets.address
    other = tmp_path / "other"
    make_certificates(other, [])
    sections = {"security": security(secrets), "cluster": {"name": NAME}}
    launcher_process.start(settings(artifacts, tmp_path / "run", **sections), address=address)
    place = ("--address", address, "--name", NAME)
    try:
        found = json.loads(command(secrets, "status", "--json", *place))
        endpoint = found["endpoint"]
        with Client(endpoint, token=TOKEN, ca=secrets / "authority.crt") as stars:
            assert stars.ask("import os", tokens_max=4).text
            assert stars.ask("import os", tokens_max=4, mode="mixture", top_k=2).text

        # A process of kernels is called directly, with the files of a client.
        store = ReleaseStore(artifacts)
        coordizer = Coordizer.load(store.folder(store.read_current().version) / "coordizer")
        files = {
            "kernel_ca": secrets / "authority.crt",
            "kernel_certificate": secrets / "client.crt",
            "kernel_key": secrets / "client.key",
        }
        options = {"token": TOKEN, "ca": secrets / "authority.crt"}
        with DirectClient(endpoint, coordizer, **files, **options) as direct:
            assert direct.ask("import os", tokens_max=4).text
        strange = {
            **files,
            "kernel_certificate": other / "client.crt",
            "kernel_key": other / "client.key",
        }
        for wrong in ({}, strange):
            with (
                DirectClient(endpoint, coordizer, **wrong, **options) as direct,
                pytest.raises(ConstellationError),
            ):
                direct.ask("import os", tokens_max=4, timeout_s=3)
        with pytest.raises(ConfigError, match="kernel_ca"):
            DirectClient("192.0.2.1:50051", coordizer, **options)

        # The metrics of all processes reach the head by TLS; Ray carries no token.
        state = running(tmp_path / "run")
        assert state is not None
        with urllib.request.urlopen(f"http://{state.metrics}/metrics", timeout=20) as reply:
            text = reply.read().decode()
        up = [line for line in text.splitlines() if line.startswith("constellation_member_up{")]
        assert len(up) > 4
        assert [line for line in up if not line.endswith(" 1")] == []
    finally:
        command(secrets, "down", *place)
    assert running(tmp_path / "run") is None
