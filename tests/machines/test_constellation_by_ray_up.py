"""`ray up` starts a constellation on three hosts, asked from outside with TLS; then all is stopped.

The steps are those of docs/machines.md, with secrets made by `constellation certificates`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from constellation import Client
from tests.machines.hosts import Hosts
from tests.machines.how_to_steps import HOME, KEEP, STARTED, UNKEEP, write_secrets
from tests.machines.ray_up import RayUp

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, hosts: Hosts) -> Path:
    folder = tmp_path_factory.mktemp("made") / "secrets"
    write_secrets(folder, hosts)
    return folder


@pytest.fixture(scope="module")
def cluster(
    hosts: Hosts, artifacts: Path, made: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RayUp]:
    mounts = {"~/.constellation/secrets": made, "~/.constellation/artifacts": artifacts}
    with RayUp(hosts, tmp_path_factory.mktemp("home"), mounts) as running:
        assert "kernels answer" in hosts.run(hosts[0], STARTED, timeout_s=330)
        yield running


def test_the_constellation_answers_from_outside_with_tls(
    cluster: RayUp, hosts: Hosts, made: Path
) -> None:
    token = (made / "token").read_text()
    where = f"{hosts[0].address}:50051"
    with Client(where, token=token, ca=made / "authority.crt") as stars:
        assert stars.ask("import os", tokens_max=4).text
        assert all(kernel.up for kernel in stars.status().kernels)


def test_the_key_of_the_authority_is_on_no_machine(cluster: RayUp, hosts: Hosts) -> None:
    for host in hosts:
        names = set(hosts.run(host, f"ls {HOME}/secrets").split())
        assert {"authority.crt", "node.crt", "node.key", "token", "ray_token"} <= names
        assert "authority.key" not in names
        assert hosts.run(host, f"find {HOME}/secrets -type f -perm /077") == ""


def test_commands_on_the_head_need_no_options(cluster: RayUp) -> None:
    assert "up" in cluster.shell("constellation status")


def test_a_worker_that_lost_its_power_joins_again_by_the_script_of_its_service(
    cluster: RayUp, hosts: Hosts
) -> None:
    lost = hosts[2]
    hosts.power_cut(lost)
    hosts.power_on(lost)
    hosts.run(lost, KEEP)
    said = cluster.shell(f"python -m cluster.await_nodes {hosts[0].address}:6379 --limit 100 2>&1")
    assert "3 of 3 machines are there" in said
    hosts.run(lost, UNKEEP)


def test_the_steps_of_the_page_stop_ray_on_every_machine(cluster: RayUp, hosts: Hosts) -> None:
    cluster.shell("constellation down")
    cluster.shell(f"bash {HOME}/code/cluster/ray/stop_workers.sh")
    for host in list(hosts)[1:]:
        assert hosts.run(host, "pgrep -x raylet", check=False) == ""
