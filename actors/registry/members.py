"""The members of one constellation as the registry holds them: who there is, and how they are.

A member is an actor: a router, or a process of kernels. What is to be done about one that is silent
the supervisor decides; here it is asked and obeyed. Nothing here knows of tables.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import grpc
import ray

from actors import _ray
from actors.background_tasks import begin
from actors.kernel.process import KernelActor
from actors.registry.heartbeat import ANSWER_S, Heartbeats
from actors.registry.saved_members import Remembered, read_members
from actors.router.process import RouterActor
from actors.spec import Announcement, DeploymentSpec
from constellation.records import KernelHealth
from constellation.runtime.placement import Placement
from constellation.runtime.supervisor import Member, Restart, State, Supervisor, SupervisorConfig
from constellation.wire.constellation_service import RouterHealth

logger = logging.getLogger(__name__)


class Members:
    """Creates the actors, asks them how they are, restarts those that hang."""

    def __init__(
        self, spec: DeploymentSpec, placement: Placement, on_change: Callable[[], object]
    ) -> None:
        """Create the actors that are not there yet.

        Args:
            spec: Of the deployment.
            placement: Which members serve which kernels.
            on_change: Called when somebody was lost, or could not start.
        """
        self._spec = spec
        self._on_change = on_change
        self._supervisor = Supervisor(SupervisorConfig())
        self._heartbeats = Heartbeats(spec.token)
        self._health: dict[str, KernelHealth] = {}
        self.announcements: dict[str, Announcement] = {}
        """Member -> where it listens, as it said itself."""
        self.failures: dict[str, str] = {}
        """Member or kernel -> why it could not start, when it could not the last time."""
        self.placement = placement
        """Which members serve which kernels."""
        self.routers = tuple(doors.member for doors in spec.routers)
        """Members that are routers."""
        self.actors = {
            member: self._create(member) for member in (*self.routers, *placement.processes)
        }
        """Member -> handle."""
        self._remembered = read_members(spec.members_path)
        for member in self.actors:
            self._expect(member)

    def _create(self, member: str) -> Any:
        actor_class = RouterActor if member in self.routers else KernelActor
        return _ray.create(actor_class, member, self._spec, member)

    @staticmethod
    def are_there(spec: DeploymentSpec) -> bool:
        """Return whether a registry before this one has started members."""
        return bool(set(_ray.members(spec.namespace)) - {_ray.REGISTRY, _ray.MAKER})

    def strays(self) -> dict[str, Any]:
        """Return actors that were joining or leaving when the registry before this one died."""
        known = {_ray.REGISTRY, _ray.MAKER, *self.actors}
        names = set(_ray.members(self._spec.namespace)) - known
        return {name: _ray.find(name, self._spec.namespace) for name in sorted(names)}

    async def find_survivors(self) -> bool:
        """Take in the actors that were here before a restart of ours; say if there are any.

        Actors that are only starting do not answer yet; they announce themselves later. One that
        hangs does neither: it is taken to be where it was, and heartbeats will show.
        """
        remembered = {name: each for name, each in self._remembered.items() if each.up}
        asked = {begin("asking", _where(actor)): name for name, actor in self.actors.items()}
        answered, silent = await asyncio.wait(asked, timeout=ANSWER_S)
        for task in silent:
            task.cancel()
            if asked[task] in remembered:
                self.note(remembered[asked[task]].announcement)
        for task in answered:
            announcement = task.result()
            if announcement is not None:
                self.note(announcement)
        return bool(answered)

    def remembered(self) -> list[Remembered]:
        """Return what the next registry is to know of everybody who ever announced himself."""
        known = [(self.state(name), each) for name, each in self.announcements.items()]
        return [
            Remembered(
                announcement=announcement,
                num_restarts=state.num_restarts,
                up=state.state is State.UP,
            )
            for state, announcement in known
        ]

    def _expect(self, member: str) -> None:
        """Wait for a member, and count on from what an earlier registry knew of it."""
        known = self._remembered.get(member)
        self._supervisor.expect(
            member,
            now_s=time.monotonic(),
            pid=0 if known is None else known.announcement.pid,
            num_restarts=0 if known is None else known.num_restarts,
        )

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
            self.failures.pop(member, None)
        return news

    def take_in(self, actor: Any, announcement: Announcement) -> None:
        """Watch over a process as it is now that a kernel has joined it."""
        member = announcement.member
        if member not in self.actors:
            self.actors[member] = actor
            self._supervisor.expect(member, now_s=time.monotonic())
            self.note(announcement)
        self.announcements[member] = announcement

    def forget(self, kernel: str) -> tuple[str, Any, bool]:
        """Stop to watch over a kernel.

        Returns:
            The process it is in, that process's actor, and whether others are left there.
        """
        member = self.placement.of(kernel)
        self.placement = self.placement.left(kernel)
        self._health.pop(kernel, None)
        if member in self.placement.processes:
            return member, self.actors[member], True
        self._supervisor.forget(member)
        self.announcements.pop(member, None)
        return member, self.actors.pop(member), False

    def drop(self, member: str) -> None:
        """Watch no more over a process that was started for a release that is not served."""
        self._supervisor.forget(member)
        self.announcements.pop(member, None)
        self.actors.pop(member, None)

    async def hang_up(self, member: str) -> None:
        """Close the connection to a process that was forgotten."""
        await self._heartbeats.forget(member)

    def unplaced(self, announcement: Announcement) -> tuple[str, ...]:
        """Return kernels that a process serves although they have left."""
        placed = self.placement.processes.get(announcement.member, ())
        return tuple(kernel for kernel in announcement.kernels if kernel not in placed)

    def missing(self, member: str) -> tuple[str, ...]:
        """Return kernels that a process does not serve although they are placed there."""
        announcement = self.announcements.get(member)
        served = () if announcement is None else announcement.kernels
        placed = self.placement.processes.get(member, ())
        return tuple(kernel for kernel in placed if kernel not in served)

    def endpoint_of(self, kernel: str) -> str | None:
        """Return where a kernel is served; None while it is down."""
        member = self.placement.of(kernel)
        state, announcement = self.state(member), self.announcements.get(member)
        served = announcement is not None and kernel in announcement.kernels
        return state.endpoint if served else None

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels."""
        return tuple(name for names in self.placement.processes.values() for name in names)

    def state(self, member: str) -> Member:
        """Return what is known of a member."""
        return self._supervisor.members[member]

    @property
    def states(self) -> tuple[Member, ...]:
        """What is known of all, the routers first."""
        return tuple(self._supervisor.members.values())

    def described(self) -> dict[str, dict[str, object]]:
        """Return member -> how it is, in plain values."""
        return {
            each.name: {
                "state": str(each.state),
                "endpoint": each.endpoint,
                "pid": each.pid,
                "restarts": each.num_restarts,
            }
            for each in self.states
        }

    def router_actors(self) -> dict[str, Any]:
        """Return the routers: member -> handle."""
        return {name: self.actors[name] for name in self.routers}

    def actors_of(self, kernels: Iterable[str]) -> dict[str, Any]:
        """Return the processes of kernels: member -> handle."""
        members = {self.placement.of(name) for name in kernels}
        return {member: self.actors[member] for member in sorted(members)}

    def router_health(self) -> tuple[RouterHealth, ...]:
        """Return where every router serves clients and how it is."""
        states = {doors.endpoint: self.state(doors.member) for doors in self._spec.routers}
        return tuple(
            RouterHealth(
                name=state.name,
                endpoint=endpoint,
                up=state.state is State.UP,
                pid=state.pid if state.state is State.UP else 0,
                num_restarts=state.num_restarts,
            )
            for endpoint, state in states.items()
        )

    def health(self) -> dict[str, KernelHealth]:
        """Return how every kernel is: its last answer, unless its process changed since.

        One whose process is being started for a release that is to come is not there yet.
        """
        known = [name for name in self.kernels if self.placement.of(name) in self.actors]
        return {name: self._health_of(name) for name in known}

    def _health_of(self, name: str) -> KernelHealth:
        state, known = self.state(self.placement.of(name)), self._health.get(name)
        up = self.endpoint_of(name) is not None
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
        """Let all finish what they are doing: the routers first, which still need the kernels."""
        started_s = time.monotonic()
        kernels = [member for member in self.actors if member not in self.routers]
        for group in (self.routers, kernels):
            left_s = max(0.1, grace_s - (time.monotonic() - started_s))
            await asyncio.gather(
                *(self.actors[member].drain.remote(left_s) for member in group),
                return_exceptions=True,
            )

    async def _check(self, member: str) -> None:
        if member not in self.actors:
            return
        state = self.state(member)
        if state.state is not State.UP or state.endpoint is None:
            await self._check_start(member)
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

    async def _check_start(self, member: str) -> None:
        """Start a member anew that could not start: Ray starts again who died, not who raised."""
        if _ray.find(member, self._spec.namespace) is not None:
            return
        if member not in self.failures:
            self.failures[member] = reason = await _death_reason(self.actors[member])
            logger.error("member did not start", extra={"member": member, "reason": reason})
            self._on_change()
        if member in self.actors:  # it may have left meanwhile
            for command in self._supervisor.ended(member, now_s=time.monotonic()):
                del self.failures[member]
                self._obey(command)

    async def _ask(self, member: str, endpoint: str) -> None:
        if member in self.routers:
            await self._heartbeats.router(member, endpoint)
            return
        described = await self._heartbeats.kernels(member, endpoint)
        placed = self.placement.processes.get(member, ())
        for each in described:
            if each.name in placed:  # it may have left meanwhile
                self._health[each.name] = KernelHealth(
                    name=each.name,
                    up=True,
                    pid=each.pid,
                    num_restarts=self.state(member).num_restarts,
                    queue_depth=each.queue_depth,
                    num_running=each.num_running,
                    capabilities=each.capabilities,
                    vocabulary=each.vocabulary,
                )

    def _note_silence(self, member: str, endpoint: str, error: grpc.aio.AioRpcError) -> None:
        now_s = time.monotonic()
        at = self.announcements[member]
        # A process that hangs does not even greet a new connection, which ends like a refused one.
        gone = error.code() is grpc.StatusCode.UNAVAILABLE and not _ray.is_alive(at.pid, at.node)
        if gone:
            if self._supervisor.refused(member, endpoint, now_s=now_s):
                logger.warning("member lost", extra={"member": member, "endpoint": endpoint})
                self._on_change()
            return
        for command in self._supervisor.timed_out(member, now_s=now_s):
            self._obey(command, pid=at.pid, node=at.node)
            self._on_change()

    def _obey(self, command: Restart, *, pid: int = 0, node: str = "") -> None:
        logger.warning("member restarted", extra={"member": command.name, "reason": command.reason})
        if not _ray.restart(command.name, self._spec.namespace, pid=pid, node=node):
            self.actors[command.name] = self._create(command.name)


async def _death_reason(actor: Any) -> str:
    """Return why an actor has ended, as far as Ray knows."""
    try:
        async with asyncio.timeout(ANSWER_S):
            await actor.where.remote()
    except ray.exceptions.RayActorError as error:
        return _ray.reason_of(error)
    except TimeoutError:
        pass
    return "Ray does not say why"


async def _where(actor: Any) -> Announcement | None:
    try:
        announcement: Announcement = await actor.where.remote()
    except ray.exceptions.RayActorError:
        return None  # it died meanwhile; its successor will announce itself
    return announcement
