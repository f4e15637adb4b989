"""The members of one constellation as the registry holds them: who there is, and how they are.

A member is an actor: the router or a kernel. What is to be done about one that is silent the
supervisor decides; here it is asked and obeyed. Nothing here knows of tables.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import grpc
import ray

from actors import _ray
from actors._ray import ROUTER
from actors.heartbeat import ANSWER_S, Heartbeats
from actors.kernel import KernelActor
from actors.router_process import RouterActor
from actors.spec import Announcement, DeploymentSpec
from constellation.records import KernelHealth
from constellation.runtime.supervisor import Member, Restart, State, Supervisor, SupervisorConfig

logger = logging.getLogger(__name__)


class Members:
    """Creates the actors, asks them how they are, restarts those that hang."""

    def __init__(
        self, spec: DeploymentSpec, kernels: Iterable[str], on_change: Callable[[], object]
    ) -> None:
        """Create the actors that are not there yet.

        Args:
            spec: Of the deployment.
            kernels: Names of the kernels.
            on_change: Called when somebody was lost.
        """
        self._spec = spec
        self._on_change = on_change
        self._supervisor = Supervisor(SupervisorConfig())
        self._heartbeats = Heartbeats(spec.token)
        self._health: dict[str, KernelHealth] = {}
        self.announcements: dict[str, Announcement] = {}
        """Member -> where it listens, as it said itself."""
        self.kernels = {_ray.kernel_member(name): name for name in kernels}
        """Member -> name, of the kernels."""
        self.actors = {ROUTER: _ray.create(RouterActor, ROUTER, spec, ROUTER)}
        """Member -> handle."""
        for member, kernel in self.kernels.items():
            self.actors[member] = _ray.create(KernelActor, member, spec, kernel)
        for member in self.actors:
            self._supervisor.expect(member, now_s=time.monotonic())

    def strays(self) -> dict[str, Any]:
        """Return actors that were joining or leaving when the registry before this one died."""
        names = set(_ray.members(self._spec.namespace)) - {_ray.REGISTRY, *self.actors}
        return {name: _ray.find(name, self._spec.namespace) for name in sorted(names)}

    async def find_survivors(self) -> bool:
        """Take in the actors that were here before a restart of ours; say if there are any.

        Actors that are only starting do not answer yet; they announce themselves later.
        """
        asked = [asyncio.create_task(_where(actor)) for actor in self.actors.values()]
        answered, silent = await asyncio.wait(asked, timeout=ANSWER_S)
        for task in silent:
            task.cancel()
        for task in answered:
            announcement = task.result()
            if announcement is not None:
                self.note(announcement)
        return bool(answered)

    def note(self, announcement: Announcement) -> bool:
        """Take note of where a member listens; say whether that is news."""
        member = announcement.member
        if member not in self.actors:
            return False  # it is joining, and is asked then; or it has left
        news = self._supervisor.announced(
            member,
            endpoint=announcement.endpoint,
            pid=announcement.pid,
            now_s=time.monotonic(),
        )
        if news:
            logger.info("member up", extra={"member": member, "pid": announcement.pid})
            self.announcements[member] = announcement
        return news

    def take_in(self, kernel: str, actor: Any, announcement: Announcement) -> None:
        """Watch over one more kernel, which is up."""
        member = announcement.member
        self.kernels[member], self.actors[member] = kernel, actor
        self._supervisor.expect(member, now_s=time.monotonic())
        self.note(announcement)

    def forget(self, member: str) -> Any:
        """Stop to watch over a kernel; return its actor."""
        self._supervisor.forget(member)
        self.announcements.pop(member, None)
        self._health.pop(self.kernels.pop(member), None)
        return self.actors.pop(member)

    async def hang_up(self, member: str) -> None:
        """Close the connection to a kernel that was forgotten."""
        await self._heartbeats.forget(member)

    def state(self, member: str) -> Member:
        """Return what is known of a member."""
        return self._supervisor.members[member]

    @property
    def states(self) -> tuple[Member, ...]:
        """What is known of all, the router first."""
        return tuple(self._supervisor.members.values())

    def health(self) -> dict[str, KernelHealth]:
        """Return how every kernel is: its last answer, unless its process changed since."""
        return {name: self._health_of(member, name) for member, name in self.kernels.items()}

    def _health_of(self, member: str, name: str) -> KernelHealth:
        state, known = self.state(member), self._health.get(name)
        up = state.state is State.UP
        if known is not None and (known.pid, known.up) == (state.pid, up):
            return known
        pid = state.pid if up else 0
        return KernelHealth(name=name, up=up, pid=pid, num_restarts=state.num_restarts)

    async def check_all(self) -> None:
        """Ask everybody once, and restart those that are silent or late for too long."""
        await asyncio.gather(*(self._check(member) for member in tuple(self.actors)))
        for command in self._supervisor.overdue(now_s=time.monotonic()):
            self._obey(command)

    async def drain(self, grace_s: float) -> None:
        """Let all finish what they are doing."""
        await asyncio.gather(
            *(actor.drain.remote(grace_s) for actor in self.actors.values()),
            return_exceptions=True,
        )

    async def _check(self, member: str) -> None:
        if member not in self.actors:
            return
        state = self.state(member)
        if state.state is not State.UP or state.endpoint is None:
            return
        endpoint = state.endpoint
        try:
            await self._ask(member, endpoint)
        except grpc.aio.AioRpcError as error:
            if member in self.actors:  # it may have left meanwhile
                self._note_silence(member, endpoint, error)
        else:
            if member in self.actors:
                self._supervisor.answered(member)

    async def _ask(self, member: str, endpoint: str) -> None:
        if member == ROUTER:
            await self._heartbeats.router(member, endpoint)
            return
        described = await self._heartbeats.kernel(member, endpoint)
        if member in self.kernels:
            name = self.kernels[member]
            self._health[name] = KernelHealth(
                name=name,
                up=True,
                pid=described.pid,
                num_restarts=self.state(member).num_restarts,
                queue_depth=described.queue_depth,
                num_running=described.num_running,
            )

    def _note_silence(self, member: str, endpoint: str, error: grpc.aio.AioRpcError) -> None:
        now_s = time.monotonic()
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            if self._supervisor.refused(member, endpoint, now_s=now_s):
                logger.warning("member lost", extra={"member": member, "endpoint": endpoint})
                self._on_change()
            return
        for command in self._supervisor.timed_out(member, now_s=now_s):
            self._obey(command)
            self._on_change()

    def _obey(self, command: Restart) -> None:
        logger.warning("member restarted", extra={"member": command.name, "reason": command.reason})
        _ray.restart(command.name, self._spec.namespace)


async def _where(actor: Any) -> Announcement | None:
    try:
        announcement: Announcement = await actor.where.remote()
    except ray.exceptions.RayActorError:
        return None  # it died meanwhile; its successor will announce itself
    return announcement
