"""`ray up` starts a constellation on three hosts, asked from outside with TLS; then all is stopped.

The steps are those of docs/machines.md, with secrets made by `constellation certificates`.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from constellation import Client
from tests.machines.hosts import Hosts
from tests.machines.how_to_steps import HOME, KEEP, STARTED, UNKEEP, write_secrets
from tests.machines.ray_up import RayUp
from tools.grafana_boards.board_queries import board_queries, read_boards

READ_METRICS = """
import urllib.request
with urllib.request.urlopen("http://127.0.0.1:50251/metrics", timeout=10) as answer:
    print(answer.read().decode())
"""

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


def test_kernels_run_on_every_machine(cluster: RayUp, hosts: Hosts, made: Path) -> None:
    token = (made / "token").read_text()
    where = f"{hosts[0].address}:50051"
    with Client(where, token=token, ca=made / "authority.crt") as stars:
        kernels = stars.status().kernels
    assert len({kernel.node for kernel in kernels}) == len(list(hosts)) == len(kernels)


def test_the_metrics_of_all_machines_are_read_on_the_head(cluster: RayUp, hosts: Hosts) -> None:
    text = cluster.shell(f"python -c {shlex.quote(READ_METRICS)}")
    boards = {"machines": read_boards()["machines"]}
    names = re.findall(r"constellation_\w+", " ".join(q.expression for q in board_queries(boards)))
    assert len(re.findall(r"^constellation_node_up{", text, re.MULTILINE)) == len(list(hosts))
    only_where_fetched = {name for name in names if "_fetch" in name or "_gpu_" in name}
    assert [name for name in {*names} - only_where_fetched if f"\n{name}{{" not in text] == []


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
