"""What the registry knows of processes of machines: unknown is not gone."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from actors import _ray
from actors.registry import nodes
from actors.registry.nodes import Nodes
from actors.spec import DeploymentSpec, KernelOptions, RouterOptions
from constellation.records import Node, NodeState, Overview


def spec_of(network: Any) -> DeploymentSpec:
    return DeploymentSpec(
        namespace="n",
        artifacts=Path("artifacts"),
        run_dir=Path("run"),
        routers=(),
        router=RouterOptions(),
        kernel=KernelOptions(),
        network=network,
    )


class Machine:
    """The calls of the actor of a machine; `answers` is returned, raised, or never comes."""

    def __init__(self, answers: object) -> None:
        self.answers = answers
        self.asked: list[int] = []

    async def is_alive(self, pid: int) -> Any:
        self.asked.append(pid)
        if self.answers is None:
            await asyncio.Event().wait()
        if isinstance(self.answers, BaseException):
            raise self.answers
        return self.answers

    kill = is_alive


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    monkeypatch.setattr(_ray, "node_name", lambda: "here")
    monkeypatch.setattr(nodes, "ANSWER_S", 0.05)
    return Nodes(spec_of("nodes"))


def know(machines: Nodes, answers: object) -> Machine:
    machine = Machine(answers)
    machines._known["there"] = nodes._Known(machine)  # type: ignore[arg-type]
    return machine


@pytest.mark.parametrize("answers", [True, False])
def test_the_actor_of_a_machine_is_asked_about_its_processes(
    machines: Nodes, answers: bool
) -> None:
    machine = know(machines, answers)
    assert asyncio.run(machines.is_alive(7, "there")) is answers
    assert asyncio.run(machines.kill(7, "there")) is answers
    assert machine.asked == [7, 7]


@pytest.mark.parametrize("answers", [None, ray.exceptions.RayActorError()])
def test_a_machine_that_does_not_answer_leaves_it_unknown(machines: Nodes, answers: object) -> None:
    know(machines, answers)
    assert asyncio.run(machines.is_alive(7, "there")) is None
    assert asyncio.run(machines.kill(7, "there")) is False


def test_a_machine_that_is_not_listed_leaves_it_unknown(machines: Nodes) -> None:
    assert asyncio.run(machines.is_alive(7, "elsewhere")) is None
    assert asyncio.run(machines.kill(7, "elsewhere")) is False


def test_without_a_process_id_nothing_is_known_and_nothing_killed(machines: Nodes) -> None:
    assert asyncio.run(machines.is_alive(0, "here")) is None
    assert asyncio.run(machines.kill(0, "here")) is False


def test_a_process_that_is_no_actor_is_not_killed(machines: Nodes) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert asyncio.run(machines.is_alive(other.pid, "here")) is False
        assert asyncio.run(machines.kill(other.pid, "here")) is False
        assert other.poll() is None
        other.communicate(b"\n")
    assert asyncio.run(machines.kill(os.getpid(), "here")) is False


def state(node: str) -> NodeState:
    return NodeState(
        node=Node(id=node, address="10.0.0.1", memory_bytes=1),
        num_processes=0,
        memory_free_bytes=1,
        load_ratio=0.0,
        disk_free_bytes=1,
    )


def test_machines_are_shown_with_their_processes_the_own_one_first(machines: Nodes) -> None:
    know(machines, True)
    machines._known["there"].state = state("there")
    found = machines.overview(Overview(nodes=(state("here"),)), ["there", "here", "there"])
    assert [each.node.id for each in found.nodes] == ["here", "there"]
    assert found.nodes[1].num_processes == 2


def test_on_a_single_machine_the_overview_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ray, "node_name", lambda: "here")
    overview = Overview(nodes=(state("here"),))
    assert Nodes(spec_of("loopback")).overview(overview, ["here"]) is overview
