"""The members of one constellation as the registry holds them: which there are, and their health.

A member is an actor: a router, or a process of kernels. What is to be done about a silent member is
decided by the supervisor and carried out here. Nothing here knows of tables.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping

import ray

from actors import _ray
from actors.actor_calls import KernelCalls, MemberCalls, RouterCalls
from actors.background_tasks import begin
from actors.kernel.process import KernelActor
from actors.registry.heartbeat import ANSWER_S, Heartbeats
from actors.registry.kernel_reports import KernelReports, joint_health
from actors.registry.member_checks import MemberChecks
from actors.registry.process_control import ProcessControl
from actors.registry.saved_members import Remembered, read_members
from actors.router.process import RouterActor
from actors.spec import Announcement, DeploymentSpec
from constellation.records import KernelDescription, KernelHealth, RouterStatus
from constellation.runtime.placement import Placement
from constellation.runtime.supervisor import Member, State, Supervisor, SupervisorConfig

logger = logging.getLogger(__name__)


class Members:
    """Creates the actors, sends them heartbeats, restarts those that hang."""

    def __init__(
        self,
        spec: DeploymentSpec,
        placement: Placement,
        processes: ProcessControl,
        on_change: Callable[[], object],
    ) -> None:
        """Create the actors that are not there yet.

        Args:
            spec: The deployment.
            placement: Which members serve which kernels.
            processes: Says whether a member's process lives, and kills it.
            on_change: Called when a member was lost, or could not start.
        """
        self._spec = spec
        self._supervisor = Supervisor(SupervisorConfig())
        self._heartbeats = Heartbeats(spec.token, spec.client_tls)
        self._checks = MemberChecks(
            spec, self, self._supervisor, self._heartbeats, on_change, processes
        )
        self._reports = KernelReports()
        self.announcements: dict[str, Announcement] = {}
        """Member -> its last announcement."""
        # A constellation without any process has not started; later a kernel may be pending.
        self.failures: dict[str, str] = {} if placement.processes else {**placement.pending}
        """Member or kernel -> why its last start failed; absent when the start succeeded."""
        self.placement = placement
        """Which members serve which kernels."""
        names = [doors.member for doors in spec.routers]
        self.routers = {name: self._start_router(name) for name in names}
        """Member -> calls of a router."""
        self.processes = {name: self._start_process(name) for name in placement.processes}
        """Member -> calls of a process of kernels."""
        self._remembered = read_members(spec.run_folder.members_path, spec.id)
        for member in self.all:
            self._expect(member)

    def _start_router(self, name: str) -> RouterCalls:
        """Return the actor of a router, created on its node if the actor does not exist."""
        return RouterActor.create(name, self._spec, name, node=self._spec.doors(name).node)

    def _start_process(self, name: str) -> KernelCalls:
        """Return the actor of a process of kernels, created where it is placed if need be."""
        node = self.placement.location_of(name).node
        return KernelActor.create(name, self._spec, name, node=node)

    @property
    def all(self) -> dict[str, MemberCalls]:
        """Calls of all members, the routers first."""
        return {**self.routers, **self.processes}

    @staticmethod
    def are_there(spec: DeploymentSpec) -> bool:
        """Return whether an earlier registry has started members."""
        return bool(set(_ray.members(spec.namespace)) - _ray.ASIDE)

    @staticmethod
    def routers_of(spec: DeploymentSpec) -> list[RouterCalls]:
        """Return the calls of the routers that an earlier registry has started."""
        found = [_ray.find(RouterCalls, doors.member, spec.namespace) for doors in spec.routers]
        return [router for router in found if router is not None]

    def strays(self) -> dict[str, MemberCalls]:
        """Return actors that were joining or leaving when an earlier registry died."""
        known = {*_ray.ASIDE, *self.all}
        names = sorted(set(_ray.members(self._spec.namespace)) - known)
        found = {name: _ray.find(MemberCalls, name, self._spec.namespace) for name in names}
        return {name: calls for name, calls in found.items() if calls is not None}

    async def find_survivors(self) -> bool:
        """Ask the actors that an earlier registry started where they listen.

        An actor that is only starting does not answer yet; it announces itself later. An actor that
        hangs does neither: its last announcement is used, and heartbeats will show that it hangs.

        Returns:
            Whether any answered.
        """
        remembered = {name: each for name, each in self._remembered.items() if each.up}
        asked = {begin("asking", _where(calls)): name for name, calls in self.all.items()}
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
        """Return what the next registry is to know of every member that announced itself."""
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
        """Expect a member to announce itself; restarts are counted on from an earlier registry."""
        known = self._remembered.get(member)
        self._supervisor.expect(
            member,
            now_s=time.monotonic(),
            pid=0 if known is None else known.announcement.pid,
            num_restarts=0 if known is None else known.num_restarts,
        )

    def note(self, announcement: Announcement) -> bool:
        """Note where a member listens; return whether that is news."""
        member = announcement.member
        if member not in self.all:
            return False  # the member is joining, and will be asked; or it has left
        if announcement.deployment != self._spec.id:
            facts = {"member": member, "deployment": announcement.deployment}
            logger.error("process of another deployment is ignored", extra=facts)
            return False
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

    def adopt(self, process: KernelCalls, announcement: Announcement) -> None:
        """Supervise a process of kernels, and note what it serves now."""
        member = announcement.member
        if member not in self.processes:
            self.processes[member] = process
            self._supervisor.expect(member, now_s=time.monotonic())
            self.note(announcement)
        self.announcements[member] = announcement

    def forget(self, kernel: str) -> list[tuple[str, KernelCalls, bool]]:
        """Remove a kernel from the placement.

        Returns:
            For each member that serves the kernel: its name, its calls, and whether it serves other
            kernels.
        """
        members = self.placement.members_of(kernel)
        self.placement = self.placement.left(kernel)
        return [self._leave(kernel, member) for member in members]

    def release(self, kernel: str, member: str) -> tuple[str, KernelCalls, bool]:
        """Remove a kernel from one of its processes in the placement; return as `forget` does."""
        self.placement = self.placement.dropped(kernel, member)
        return self._leave(kernel, member)

    def start_placed(self) -> None:
        """Create the processes that are placed and not there yet, and expect announcements."""
        for name in self.placement.processes.keys() - self.processes.keys():
            self.processes[name] = self._start_process(name)
            self._expect(name)

    def _leave(self, kernel: str, member: str) -> tuple[str, KernelCalls, bool]:
        self._reports.forget(kernel, member)
        process = self.processes[member]
        others_stay = member in self.placement.processes
        if not others_stay:
            self.drop(member)
        return member, process, others_stay

    def drop(self, member: str) -> None:
        """Stop supervising a process that leaves."""
        self._supervisor.forget(member)
        self.announcements.pop(member, None)
        self.processes.pop(member, None)

    async def close_connection(self, member: str) -> None:
        """Close the connection to a process that is supervised no more."""
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

    def endpoints_of(self, kernel: str) -> tuple[str, ...]:
        """Return where a kernel is served; empty while the kernel is down."""
        members = self.placement.members_of(kernel)
        served = (self._served_at(kernel, member) for member in members)
        return tuple(endpoint for endpoint in served if endpoint is not None)

    def _served_at(self, kernel: str, member: str) -> str | None:
        """Return where a member serves a kernel; None while it does not."""
        announcement = self.announcements.get(member)
        served = announcement is not None and kernel in announcement.kernels
        return self.state(member).endpoint if served else None

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels that processes serve."""
        return self.placement.kernels

    @property
    def pending(self) -> Mapping[str, str]:
        """Kernel -> why it has too few processes; empty when no kernel has a process."""
        return self.placement.pending if self.placement.processes else {}

    def state(self, member: str) -> Member:
        """Return the state of a member."""
        return self._supervisor.members[member]

    @property
    def states(self) -> tuple[Member, ...]:
        """States of all members, the routers first."""
        return tuple(self._supervisor.members.values())

    def restarts(self) -> dict[str, int]:
        """Return member -> restarts of its process."""
        return {each.name: each.num_restarts for each in self.states}

    def described(self) -> dict[str, dict[str, object]]:
        """Return member -> state, endpoint, process id and restarts, in plain values."""
        return {
            each.name: {
                "state": str(each.state),
                "endpoint": each.endpoint,
                "pid": each.pid,
                "restarts": each.num_restarts,
            }
            for each in self.states
        }

    def processes_of(self, kernels: Iterable[str]) -> dict[str, KernelCalls]:
        """Return the processes that serve kernels: member -> calls."""
        members = self._members_of(kernels)
        return {member: self.processes[member] for member in sorted(members)}

    def _members_of(self, kernels: Iterable[str]) -> set[str]:
        return {member for name in kernels for member in self.placement.members_of(name)}

    def router_health(self) -> tuple[RouterStatus, ...]:
        """Return where every router serves clients, and whether it is up."""
        states = {doors.endpoint: self.state(doors.member) for doors in self._spec.routers}
        return tuple(
            RouterStatus(
                name=state.name,
                endpoint=endpoint,
                up=state.state is State.UP,
                pid=state.pid if state.state is State.UP else 0,
                num_restarts=state.num_restarts,
            )
            for endpoint, state in states.items()
        )

    def health(self) -> dict[str, KernelHealth]:
        """Return the health of every kernel: its last answer, unless its process changed since.

        A kernel whose process is being started for the next release is left out.
        """
        pending = self.placement.pending
        health = {
            name: KernelHealth(name=name, up=False, pid=0, num_restarts=0, problem=problem)
            for name, problem in pending.items()
        }
        for name in self.kernels:
            members = [each for each in self.placement.members_of(name) if each in self.processes]
            if members:
                health[name] = self._health_of(name, members, pending.get(name, ""))
        return health

    def _health_of(self, name: str, members: list[str], problem: str) -> KernelHealth:
        found = [
            (
                self.state(member),
                self._reports.health(
                    name,
                    self.state(member),
                    up=self._served_at(name, member) is not None,
                    node=self._node_of(member),
                ),
            )
            for member in members
        ]
        if len(found) == self.placement.replicas == 1:
            return found[0][1]
        return joint_health(found, problem)

    def _node_of(self, member: str) -> str:
        """Return the id of a member's node, as one object for all: pickled once for a message."""
        announcement = self.announcements.get(member)
        return "" if announcement is None else sys.intern(announcement.node)

    async def check_all(self) -> None:
        """Send every member a heartbeat; restart members that are silent or late for too long."""
        await self._checks.check_all()

    async def check(self, kernels: Iterable[str]) -> None:
        """Send the processes of some kernels a heartbeat now, so that their health is known."""
        await self._checks.check(sorted(self._members_of(kernels)))

    async def drain(self, grace_s: float) -> None:
        """Drain all members: the routers first, whose requests still need the kernels."""
        started_s = time.monotonic()
        groups: tuple[Iterable[MemberCalls], ...] = (
            self.routers.values(),
            self.processes.values(),
        )
        for group in groups:
            left_s = max(0.1, grace_s - (time.monotonic() - started_s))
            calls = [member.drain(left_s) for member in group]
            await asyncio.gather(*calls, return_exceptions=True)

    def note_described(self, member: str, described: Iterable[KernelDescription]) -> None:
        """Note what a process said of its kernels."""
        placed = self.placement.processes.get(member, ())
        for each in described:
            if each.name in placed:  # the member may have left meanwhile
                self._reports.note(each, self.state(member), self._node_of(member))

    def recreate(self, member: str) -> None:
        """Create the actor of a member that Ray no longer knows."""
        if member in self.routers:
            self.routers[member] = self._start_router(member)
        else:
            self.processes[member] = self._start_process(member)


async def _where(member: MemberCalls) -> Announcement | None:
    try:
        return await member.where()
    except ray.exceptions.RayActorError:
        return None  # the process died meanwhile; its successor will announce itself
