"""Two machines with separate folders: the second one sees no artifacts, and serves all the same.

Every raylet is started in a working folder of its own, and all paths of the deployment are
relative. So a path of one machine leads nowhere on the other, as with separate disks.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from actors import _ray
from actors.actor_calls import NodeCalls, RegistryCalls
from actors.registry.process import RegistryActor
from actors.spec import DeploymentSpec, KernelOptions, RouterDoors, RouterOptions
from cluster.bootstrap import joined_ray
from constellation import Client
from constellation.records import ReplicaHealth
from constellation.releases.blob_sources import BLOBS_PATH
from constellation.releases.node_store import part_of
from constellation.releases.store import ReleaseStore
from tests.machines.raylets import Raylets, RayNode, free_ports
from tests.support.artifacts import PROMPTS
from tests.support.released import rewrite

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.slow]

logger = logging.getLogger(__name__)

TOKEN = "a token of sixteen"
KERNEL = "mail"
UP_S = 120.0


@dataclass
class Apart:
    """A constellation on a first machine, and a second machine that has just joined."""

    spec: DeploymentSpec
    first: RayNode
    second: RayNode
    home: Path
    away: Path
    joined_s: float

    def wait(self, call: Awaitable[Any], timeout_s: float = 30.0) -> Any:
        return _ray.wait_for(call, timeout_s=timeout_s, what="an actor")

    @property
    def registry(self) -> RegistryCalls:
        found = _ray.find(RegistryCalls, _ray.REGISTRY, self.spec.namespace)
        assert found is not None
        return found

    def node(self, node: RayNode) -> NodeCalls:
        return until(lambda: _ray.find(NodeCalls, _ray.node_member(node.id), self.spec.namespace))

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.wait(self.registry.state())
        return found

    @property
    def endpoint(self) -> str:
        return self.spec.routers[0].endpoint

    def ask(self) -> str:
        with Client(self.endpoint, token=TOKEN) as stars:
            answer = stars.ask(PROMPTS[KERNEL], kernel=KERNEL, tokens_max=16, temperature=0)
            return answer.text


def until(found: Callable[[], Any], timeout_s: float = UP_S) -> Any:
    """Return what a function finds, once it finds something."""
    end_s = time.monotonic() + timeout_s
    while not (result := found()):
        assert time.monotonic() < end_s, "it did not come within the time"
        os.sched_yield()
    return result


@pytest.fixture(scope="module")
def apart(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    home, away = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("away")
    shutil.copytree(artifacts, home / "artifacts")
    cluster = Raylets(1)
    with contextlib.chdir(home):
        cluster.__enter__()
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.__exit__, None, None, None)
        stack.enter_context(joined_ray(cluster.address))
        spec = _spec(cluster.head)
        stack.callback(_ray.tear_down, spec.namespace, grace_s=1.0)
        registry = RegistryActor.create(_ray.REGISTRY, spec, node=cluster.head.id)
        _ray.wait_for(registry.ready(), timeout_s=UP_S, what="the constellation")
        with contextlib.chdir(away):
            second = cluster.add()
        yield Apart(spec, cluster.head, second, home, away, time.monotonic())


def _spec(head: RayNode) -> DeploymentSpec:
    doors = RouterDoors(member="router", listen=(head.address, free_ports(1)[0]), node=head.id)
    return DeploymentSpec(
        id="apart",
        namespace="constellation-apart",
        artifacts=Path("artifacts"),
        run_dir=Path("run"),
        routers=(doors,),
        router=RouterOptions(),
        kernel=KernelOptions(replicas=2),
        token=TOKEN,
        network="nodes",
        head=head.id,
    )


def replica_there(apart: Apart, kernel: str = KERNEL) -> ReplicaHealth | None:
    """Return the process of a kernel on the second machine; None until it serves."""
    with Client(apart.endpoint, token=TOKEN) as stars:
        (found,) = (each for each in stars.status().kernels if each.name == kernel)
    there = [each for each in found.replicas if each.node == apart.second.id and each.up]
    return there[0] if there else None


def test_a_machine_that_joins_without_artifacts_serves_the_same_answers(apart: Apart) -> None:
    before = apart.ask()
    for kernel in PROMPTS:
        until(lambda kernel=kernel: replica_there(apart, kernel))
    logger.info("a machine serves %.1f s after it joined", time.monotonic() - apart.joined_s)
    assert {apart.ask() for _ in range(8)} == {before}
    assert not (apart.away / "artifacts").exists()
    release = ReleaseStore(apart.home / "artifacts").read_current()
    parts = part_of(release, ("coordizer", *(f"kernels/{kernel}" for kernel in PROMPTS)))
    kept = {path.name for path in (apart.away / "run/store" / BLOBS_PATH).iterdir()}
    assert kept == {blob.sha256 for blob in parts.values()}


def test_nothing_is_copied_on_the_machine_that_sees_the_artifacts(apart: Apart) -> None:
    assert not (apart.home / "run/store").exists()


def test_every_machine_is_in_the_status_and_in_the_metrics(apart: Apart) -> None:
    def nodes() -> dict[str, int]:
        """Return address of every machine -> processes that serve there."""
        with Client(apart.endpoint, token=TOKEN) as stars:
            found = stars.status().overview.nodes
        return {each.node.address: each.num_processes for each in found}

    addresses = {apart.first.address, apart.second.address}
    until(lambda: nodes().keys() == addresses and all(nodes().values()))
    assert {f"node-{address}" for address in addresses} <= apart.state()["metrics"].keys()


def test_a_new_release_is_loaded_on_the_machine_that_does_not_see_it(apart: Apart) -> None:
    before, artifacts = apart.ask(), apart.home / "artifacts"
    folder = ReleaseStore(artifacts).current_folder() / f"kernels/{KERNEL}"
    described = json.loads((folder / "kernel.json").read_text(encoding="utf-8"))
    described["facts"]["note"] = "trained again"
    text = json.dumps(described).encode()
    version = rewrite(artifacts, {KERNEL: {"kernel.json": text}})
    with Client(apart.endpoint, token=TOKEN) as stars:
        assert stars.reload().reloaded == (KERNEL,)
    kept = apart.away / f"run/store/releases/{version}/kernels/{KERNEL}/kernel.json"
    assert kept.read_bytes() == text
    assert apart.ask() == before


def test_a_process_of_another_machine_that_hangs_is_killed_there(apart: Apart) -> None:
    process = until(lambda: replica_there(apart))
    psutil.Process(process.pid).send_signal(signal.SIGSTOP)
    until(lambda: not psutil.pid_exists(process.pid))
    assert until(lambda: replica_there(apart)).pid != process.pid
    assert apart.ask()


def test_a_log_of_another_machine_is_read_by_its_actor(apart: Apart) -> None:
    member = until(lambda: replica_there(apart)).member
    part = apart.wait(apart.node(apart.second).read_log(member, None, 100))
    assert "kernels serve" in part.text
    assert (apart.away / f"run/logs/{member}.jsonl").exists()


def test_the_actor_of_a_machine_that_is_killed_comes_back_and_is_asked_again(apart: Apart) -> None:
    before = apart.wait(apart.node(apart.second).where())
    psutil.Process(before.pid).kill()

    def endpoints() -> tuple[str, ...]:
        found: tuple[str, ...] = apart.wait(apart.registry.blob_endpoints())
        return found

    until(lambda: before.endpoint not in endpoints() and len(endpoints()) == 2)


def test_a_process_that_is_placed_nowhere_is_an_error(apart: Apart) -> None:
    with pytest.raises(Exception, match="no kernel is placed in kernel-nobody"):
        apart.wait(apart.registry.placed("kernel-nobody"))
