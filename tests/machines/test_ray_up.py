"""`ray up` with the cluster file for own machines, on three hosts over SSH."""

import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines.hosts import Hosts
from tests.machines.ray_on_hosts import nodes_alive
from tests.machines.ray_up import RayUp

pytestmark = pytest.mark.cluster

JOIN_S = 180.0
SECRETS = ("token", "ray_token")


@pytest.fixture(scope="module")
def cluster(
    hosts: Hosts, artifacts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RayUp]:
    """Return the three hosts as a Ray cluster."""
    folder = tmp_path_factory.mktemp("secrets")
    for name in SECRETS:
        (folder / name).write_text(secrets.token_hex(32))
    mounts = {"~/.constellation/secrets": folder, "~/.constellation/artifacts": artifacts}
    with RayUp(hosts, tmp_path_factory.mktemp("home"), mounts) as running:
        yield running


def test_every_machine_of_the_file_joins(cluster: RayUp, hosts: Hosts) -> None:
    pause, end_s = threading.Event(), time.monotonic() + JOIN_S
    addresses = {host.address for host in hosts}
    while (found := nodes_alive(hosts)) != addresses:
        assert time.monotonic() < end_s, f"joined: {found}"
        pause.wait(2)


def test_commands_of_a_login_shell_use_the_copied_code(cluster: RayUp, hosts: Hosts) -> None:
    for host in hosts:
        said = cluster.shell("python -c 'import cluster; print(cluster.__file__)'", host=host)
        assert said.strip() == "/root/.constellation/code/cluster/__init__.py"
        assert cluster.shell("constellation --help", host=host)


def test_secrets_and_artifacts_are_readable_by_their_user_only(
    cluster: RayUp, hosts: Hosts
) -> None:
    for host in hosts:
        assert cluster.shell("stat -c %a ~/.constellation", host=host).strip() == "700"
        assert len(cluster.shell("cat ~/.constellation/secrets/token", host=host)) == 64
        assert "releases" in cluster.shell("ls ~/.constellation/artifacts", host=host)
