"""`ray up` with cluster/ray/onprem.yaml starts Ray on three hosts, and nothing else is needed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines.hosts import Hosts
from tests.machines.ray_up import HOME, RayUp

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(
    hosts: Hosts, artifacts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RayUp]:
    with RayUp(hosts, artifacts, tmp_path_factory.mktemp("ray_up")) as started:
        yield started


def test_all_machines_join_the_head(cluster: RayUp, hosts: Hosts) -> None:
    said = cluster.execute(
        f"python -m cluster.await_nodes {hosts[0].address}:6379 --limit 100", timeout_s=150
    )
    assert "3 of 3 machines are there" in said


def test_files_on_every_machine_are_its_users_alone_and_each_has_its_own_certificate(
    cluster: RayUp, hosts: Hosts
) -> None:
    for host in hosts:
        assert hosts.run(host, f"stat -c %a {HOME}").strip() == "700"
        own = (cluster.secrets / "nodes" / f"{host.address}.pem").read_text()
        assert hosts.run(host, f"cat {HOME}/secrets/node.pem") == own
        assert hosts.run(host, f"find {HOME}/secrets -type f -perm /077") == ""
