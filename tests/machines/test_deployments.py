"""A deployment on a cluster lives by itself, and every machine of the cluster finds it by name."""

import os
from pathlib import Path

import psutil
import pytest

from cluster import launcher_process
from cluster.deployment_process import Named, describe_deployment, end_deployment
from cluster.state_file import running
from constellation import Client
from constellation.errors import DeploymentError
from constellation.settings import Settings
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
