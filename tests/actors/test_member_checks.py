"""What the registry does about a member that is silent, gone or idle: real gRPC, no Ray."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from actors import _ray
from actors.registry.heartbeat import Heartbeats
from actors.registry.member_checks import MemberChecks
from actors.spec import Announcement, DeploymentSpec, KernelOptions, RouterDoors, RouterOptions
from constellation.records import KernelDescription
from constellation.runtime.supervisor import Member, State, Supervisor, SupervisorConfig
from tests.actors.test_progress import Process, a_broken_engine
from tests.support.black_hole import BlackHole

PID = os.getpid()
"""Kernels of a test run in the process of the test."""


class Machine:
    """Says of a process whatever a test wants to be so."""

    def __init__(self, alive: bool | None) -> None:
        self.alive = alive
        self.killed: list[int] = []

    async def is_alive(self, pid: int, node: str) -> bool | None:
        return self.alive

    async def kill(self, pid: int, node: str) -> bool:
        self.killed.append(pid)
        return bool(self.alive)


class Members:
    """One process of kernels, and what was noted of it."""

    def __init__(self, endpoint: str) -> None:
        self.supervisor = Supervisor(SupervisorConfig())
        self.routers: dict[str, object] = {}
        self.failures: dict[str, str] = {}
        self.announcements = {
            "m": Announcement(
                member="m", endpoint=endpoint, metrics_endpoint="", pid=PID, node="there"
            )
        }
        self.supervisor.expect("m", now_s=0.0)
        self.supervisor.announced("m", endpoint=endpoint, pid=PID, now_s=0.0)
        self.described: list[KernelDescription] = []

    @property
    def all(self) -> dict[str, object]:
        return {"m": None}

    def state(self, member: str) -> Member:
        return self.supervisor.members[member]

    def note_described(self, member: str, described: Any) -> None:
        self.described += described


class Checked:
    """A process of kernels behind a network, and its checks."""

    def __init__(self, spec: DeploymentSpec, process: Process, way: BlackHole, machine: Machine):
        self.process = process
        self.way = way
        self.machine = machine
        self.members = Members(way.endpoint)
        self.changes: list[State] = []
        self.heartbeats = Heartbeats(None)
        self._checks = MemberChecks(
            spec,
            self.members,  # type: ignore[arg-type]
            self.members.supervisor,
            self.heartbeats,
            lambda: self.changes.append(self.state),
            machine,
        )

    @property
    def state(self) -> State:
        return self.members.state("m").state

    async def check(self, num: int) -> None:
        for _ in range(num):
            await self._checks.check(["m"])

    async def check_until(self, state: State) -> None:
        async with asyncio.timeout(20):
            while self.state is not state:
                await self._checks.check(["m"])
                await asyncio.sleep(0.01)


@pytest.fixture
def spec(tmp_path: Any) -> DeploymentSpec:
    return DeploymentSpec(
        namespace="here",
        artifacts=tmp_path,
        run_dir=tmp_path,
        routers=(RouterDoors(member="router", listen=("127.0.0.1", 0)),),
        router=RouterOptions(),
        kernel=KernelOptions(),
    )


@pytest.fixture(autouse=True)
def restarts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the members that Ray was asked to restart, where their machine did not kill them."""
    asked: list[str] = []

    def restart(member: str, namespace: str, **_: object) -> bool:
        asked.append(member)
        return True

    monkeypatch.setattr(_ray, "restart", restart)
    monkeypatch.setattr(_ray, "exists", lambda member, namespace: True)
    return asked


def told(
    spec: DeploymentSpec,
    alive: bool | None,
    story: Callable[[Checked], Coroutine[Any, Any, None]],
) -> Checked:
    async def whole() -> Checked:
        async with Process() as process:
            with BlackHole(process.endpoint) as way:
                checked = Checked(spec, process, way, Machine(alive))
                await checked.check(1)
                assert checked.state is State.UP
                assert [each.name for each in checked.members.described] == ["k"]
                await story(checked)
                await checked.heartbeats.forget("m")
                return checked

    return asyncio.run(whole())


def test_a_member_behind_a_network_that_is_cut_comes_back_without_a_restart(
    spec: DeploymentSpec, restarts: list[str]
) -> None:
    async def story(checked: Checked) -> None:
        checked.way.cut()
        await checked.check(2)
        assert checked.state is State.UP
        await checked.check(2)
        assert checked.state is State.UNREACHABLE
        checked.way.heal()
        await checked.check_until(State.UP)

    checked = told(spec, None, story)
    assert checked.changes == [State.UNREACHABLE, State.UP]
    assert (checked.machine.killed, restarts) == ([], [])
    assert checked.members.state("m").num_restarts == 0


def test_a_member_that_is_silent_although_its_process_lives_is_killed_on_its_machine(
    spec: DeploymentSpec, restarts: list[str]
) -> None:
    async def story(checked: Checked) -> None:
        checked.way.cut()
        await checked.check(3)

    checked = told(spec, True, story)
    assert (checked.machine.killed, restarts) == ([PID], [])
    assert checked.state is State.STARTING
    assert checked.changes == [State.STARTING]


def test_a_member_whose_process_is_gone_is_lost_at_once_and_left_to_ray(
    spec: DeploymentSpec, restarts: list[str]
) -> None:
    async def story(checked: Checked) -> None:
        await checked.process.kernel.server.stop(grace_s=0)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await checked.check_until(State.STARTING)

    checked = told(spec, False, story)
    assert checked.state is State.STARTING
    assert checked.members.state("m").last_endpoint is None
    assert (checked.machine.killed, restarts) == ([], [])


def test_a_member_that_writes_no_token_is_killed_or_restarted_by_ray(
    spec: DeploymentSpec, restarts: list[str]
) -> None:
    for alive in (True, None):

        async def story(checked: Checked) -> None:
            await a_broken_engine(checked.process)
            checked.process.ask()
            await checked.check_until(State.STARTING)

        checked = told(spec, alive, story)
        assert checked.machine.killed == [PID]
        assert restarts == ([] if alive else ["m"])


def test_another_process_at_the_endpoint_of_a_member_is_not_the_member(
    spec: DeploymentSpec,
) -> None:
    async def story(checked: Checked) -> None:
        checked.members.announcements["m"] = Announcement(
            member="m", endpoint=checked.way.endpoint, metrics_endpoint="", pid=1, node="there"
        )
        await checked.check(1)
        assert checked.state is State.STARTING

    told(spec, False, story)
