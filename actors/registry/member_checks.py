"""Heartbeats as they are judged: what an answer or a silence of a member means, and its restart.

`heartbeat.py` sends the heartbeats, `constellation/runtime/supervisor.py` decides, and this file
carries the decisions out. A member is well only if it answers and does its work: a process of
kernels says how its steps progress (`actors/kernel/progress.py`), a router has to route a text.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import grpc
import ray

from actors import _ray
from actors.actor_calls import MemberCalls
from actors.registry.heartbeat import ANSWER_S, Heartbeats
from actors.registry.process_control import ProcessControl
from actors.registry.route_checks import RouteChecks
from actors.spec import DeploymentSpec
from constellation.records import Progress
from constellation.runtime.supervisor import Restart, State, Supervisor

if TYPE_CHECKING:
    from actors.registry.members import Members

logger = logging.getLogger(__name__)

FAILED_PROBES_MAX = 2
"""Probes of a kernel in a row that may fail until its process counts as doing no work."""


class MemberChecks:
    """Checks members one by one, or all of them.

    Args:
        spec: The deployment.
        members: Which members there are; notes what they say.
        supervisor: Decides.
        heartbeats: Connections to the members.
        on_change: Called when a member was lost, came back, or could not start.
        processes: Says whether a member's process lives, and kills it.
    """

    def __init__(
        self,
        spec: DeploymentSpec,
        members: "Members",
        supervisor: Supervisor,
        heartbeats: Heartbeats,
        on_change: Callable[[], object],
        processes: ProcessControl,
    ) -> None:
        self._spec = spec
        self._members = members
        self._supervisor = supervisor
        self._heartbeats = heartbeats
        self._on_change = on_change
        self._processes = processes
        self._routes = RouteChecks(heartbeats, time.monotonic)
        # A client that does not read is cut off first.
        self._stuck_s = max(spec.kernel.stuck_s, spec.kernel.stall_s + 5)

    async def check_all(self) -> None:
        """Check every member; restart members that are late or idle for too long."""
        await self.check(self._members.all)
        for command in self._supervisor.overdue(now_s=time.monotonic()):
            await self._restart(command)

    async def check(self, members: Iterable[str]) -> None:
        """Send some members a heartbeat now."""
        await asyncio.gather(*(self._check(member) for member in members))

    async def _check(self, member: str) -> None:
        if member not in self._members.all:
            return
        state = self._members.state(member)
        if state.state is not State.UP:
            await self._check_start(member)
        endpoint = state.last_endpoint
        if endpoint is None:
            return
        try:
            fault = await self._ask(member, endpoint)
        except grpc.aio.AioRpcError as error:
            if self._is_at(member, endpoint):
                await self._note_silence(member, endpoint, error)
        else:
            if self._is_at(member, endpoint):
                await self._note_answer(member, fault)

    def _is_at(self, member: str, endpoint: str) -> bool:
        """Return whether a member is still asked at an endpoint: it may have left or moved."""
        known = self._supervisor.members.get(member)
        return known is not None and known.last_endpoint == endpoint

    async def _check_start(self, member: str) -> None:
        """Restart a member whose start raised: Ray restarts only processes that died later."""
        members = self._members
        if _ray.exists(member, self._spec.namespace):
            return
        if member not in members.failures:
            members.failures[member] = reason = await _death_reason(members.all[member])
            logger.error("member did not start", extra={"member": member, "reason": reason})
            self._on_change()
        if member in members.all:  # the member may have left meanwhile
            for command in self._supervisor.ended(member, now_s=time.monotonic()):
                del members.failures[member]
                await self._restart(command)

    async def _ask(self, member: str, endpoint: str) -> str:
        """Send a heartbeat; return why the member does no work, or "" when it does.

        Raises:
            grpc.aio.AioRpcError: The member did not answer in time, or does not listen.
        """
        if member in self._members.routers:
            await self._heartbeats.router(member, endpoint)
            return self._routes.fault(member, endpoint)
        described, progress = await self._heartbeats.kernels(member, endpoint)
        announced = self._members.announcements.get(member)
        if announced is not None and any(each.pid != announced.pid for each in described):
            return "another process listens at its endpoint"
        self._members.note_described(member, described)
        return fault_of(progress, self._stuck_s)

    async def _note_answer(self, member: str, fault: str) -> None:
        now_s = time.monotonic()
        if not fault:
            if self._supervisor.answered(member, now_s=now_s):
                logger.info("member reached again", extra={"member": member})
                self._on_change()
            return
        was_up = self._members.state(member).state is State.UP
        for command in self._supervisor.idles(member, fault, now_s=now_s):
            self._routes.forget(member)
            await self._restart(command)
        if was_up:
            logger.warning("member does no work", extra={"member": member, "reason": fault})
            self._on_change()

    async def _note_silence(self, member: str, endpoint: str, error: grpc.aio.AioRpcError) -> None:
        at = self._members.announcements[member]
        is_asked = self._asks_for_process(member, error)
        alive = await self._processes.is_alive(at.pid, at.node) if is_asked else None
        if not self._is_at(member, endpoint):
            return
        now_s, facts = time.monotonic(), {"member": member, "endpoint": endpoint}
        if alive is None:
            if self._supervisor.unknown(member, now_s=now_s):
                logger.warning("member unreachable", extra={**facts, "code": error.code().name})
                self._on_change()
        elif not alive:
            if self._supervisor.refused(member, endpoint, now_s=now_s):
                logger.warning("member lost", extra=facts)
                self._on_change()
        else:
            was_up = self._members.state(member).state is State.UP
            for command in self._supervisor.timed_out(member, now_s=now_s):
                await self._restart(command)
            if was_up and self._members.state(member).state is not State.UP:
                self._on_change()

    def _asks_for_process(self, member: str, error: grpc.aio.AioRpcError) -> bool:
        """Return whether to ask if the process of a silent member lives.

        The question goes to the machine of the process, which may be silent for a second, too. So
        it is asked when the answer counts, and now and then while the member is unreachable. A new
        connection to a process that hangs ends like a refused one.
        """
        misses = self._members.state(member).misses + 1
        is_refused = error.code() is grpc.StatusCode.UNAVAILABLE
        return is_refused or misses == self._supervisor.config.misses_max or misses % 10 == 0

    async def _restart(self, command: Restart) -> None:
        name = command.name
        logger.warning("member restarted", extra={"member": name, "reason": command.reason})
        at = self._members.announcements.get(name)
        if command.pid and at is not None and await self._processes.kill(command.pid, at.node):
            return
        if not _ray.restart(name, self._spec.namespace):
            self._members.recreate(name)


def fault_of(progress: Progress, stuck_s: float) -> str:
    """Return why a process of kernels does no work; "" when it does, or has nothing to do."""
    kernel = progress.kernel
    if progress.stalled_s > stuck_s:
        return f"kernel {kernel!r} made no step for {progress.stalled_s:.0f} s with texts waiting"
    if progress.num_failed_probes >= FAILED_PROBES_MAX:
        return f"kernel {kernel!r} writes no token: {progress.reason}"
    return ""


async def _death_reason(member: MemberCalls) -> str:
    """Return why an actor has ended, as far as Ray knows."""
    try:
        async with asyncio.timeout(ANSWER_S):
            await member.where()
    except ray.exceptions.RayActorError as error:
        return _ray.reason_of(error)
    except TimeoutError:
        pass
    return "Ray does not say why"
