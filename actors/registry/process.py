"""The registry: creates the actors, supervises them, and publishes the table.

`members.py` supervises, and `table_broadcast.py` sends routers what changed; every change of what
is served goes through the registry. The registry holds nothing that cannot be asked for again: when
its process dies, Ray restarts it, and the registry reads in the run folder what was served, and
finds the actors by name.

What is served is one release, also when any process dies at any moment:

- A router routes by a table and by the coordizer of the same release, or continues as before.
- Until `current` names a release, no table names the release, and what was loaded for it is dropped
  when the switch fails.
- From then on this registry, and the next one if this one dies, switches all processes to the
  release: kernels take it, the placement names it, and only then a table of the release is
  published.
- A process that restarts loads the release that the placement names. When that is not the served
  release, the registry learns so from the announcement and has the process take the served one.
"""

import asyncio
import logging
import os
import time
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from actors import _ray
from actors.actor_calls import KernelCalls, RegistryCalls
from actors.background_tasks import begin, repeat
from actors.placement_file import Placed, read_placement
from actors.registry import actor_lifecycle, release_access
from actors.registry.drain import Draining
from actors.registry.initial_table import table_of, table_to_begin_with
from actors.registry.kernel_moves import KernelMoves, lost_members
from actors.registry.kernel_placing import KernelPlacing
from actors.registry.kernel_starts import KernelStarts
from actors.registry.members import Members
from actors.registry.metrics_exports import Exports
from actors.registry.node_answers import NodeAnswers
from actors.registry.nodes import Nodes
from actors.registry.overview_source import OVERVIEW_S, OverviewSource, own_processes
from actors.registry.persistence import Persistence
from actors.registry.publisher import Publisher
from actors.registry.release_process import make_apart
from actors.registry.reload import forget, load_beside, prepare_routers, take
from actors.spec import Announcement, DeploymentSpec, StartState
from constellation.errors import (
    ArtifactError,
    ConstellationError,
    DeploymentError,
    GrowthRefused,
    ReloadRefused,
)
from constellation.records import Change, Changed, Rebalance, Reload, RollBack, Table
from constellation.releases.manifest import Release
from constellation.releases.switch_plan import Steps
from constellation.runtime.placement import Placement
from constellation.runtime.supervisor import State
from constellation.telemetry.logs import set_up_logging

logger = logging.getLogger(__name__)

HEARTBEAT_S = 0.5
"""Seconds between two rounds of heartbeats."""

FOLLOW_S = 60.0
"""Seconds during which a registry that starts tries to serve the current release."""


class RegistryProcess(NodeAnswers):
    """The registry inside a Ray actor."""

    async def __init__(self, spec: DeploymentSpec) -> None:  # type: ignore[misc]
        set_up_logging(spec.node_folder.log_path(_ray.REGISTRY))
        spec = spec.with_token()
        self._spec = spec
        self._draining = Draining(spec)
        self._changing = asyncio.Lock()
        self._moving = asyncio.Lock()  # held while processes join, leave and move
        self._files = Persistence(spec)
        restarts = Members.are_there(spec)
        table = await table_to_begin_with(spec, Members.routers_of(spec), restarts=restarts)
        current = await asyncio.to_thread(release_access.current_number, spec)
        address = _ray.node_address(spec)
        self._exports = Exports(address, spec.metrics_context())
        self._nodes = await Nodes.started(spec)
        self._placing = KernelPlacing(spec, self._nodes)
        placed = read_placement(spec)
        placement = await self._placing.fitted(table, placed.placement)
        for member in lost_members(placed.placement, placement):  # their nodes have gone
            await actor_lifecycle.remove(spec, member)
        is_served_on = restarts and placed.release == table.release
        self._since_s = placed.since_s if is_served_on and placed.since_s else time.time()
        self._exports.describe(table, self._since_s)
        # Written first: a process that starts reads its kernels there.
        first = Placed(placement=placement, release=table.release, since_s=self._since_s)
        self._files.keep_placement(first)
        await self._files.write()
        self._members = Members(spec, placement, self._nodes, self._publish)
        self._starts = KernelStarts(spec, self._members, self._draining, self._place)
        self._publisher = Publisher(table, self._members, self._files, self._exports)
        self._moves = KernelMoves(
            self._members, self._publisher, self._starts, self._placing, self._agree
        )
        self._overviews = OverviewSource(spec, _ray.node_name(), address)
        await self._look()
        for member, process in self._members.strays().items():
            self._draining.drain_process(member, process)
        if await self._members.find_survivors():
            # All at once: one by one would take the other members from the routers' tables.
            self._publisher.publish()
            # Drop what was loaded for a switch that will not be finished.
            begin("leftovers", forget(self._members.processes_of(self._members.kernels)))
        if current not in (None, self._served):
            begin("switch", self._follow_current())  # before any process is reloaded
        for announcement in self._members.announcements.values():
            self._agree(announcement)
        self._watch = begin("supervision", repeat("heartbeats", self._check_all, HEARTBEAT_S))
        begin("overview", repeat("overview", self._look, OVERVIEW_S))
        begin("placement", repeat("placement", self._follow_nodes, 0.0))
        begin("persistence", repeat("run folder", self._files.write_next, 0.0))

    @property
    def _served(self) -> int:
        """Number of the release that is served."""
        return self._publisher.table.release

    async def announced(self, announcement: Announcement) -> None:
        """Note where an actor listens: called by the actor when it has started."""
        if self._members.note(announcement):
            self._publisher.publish()
            self._agree(announcement)

    async def ready(self) -> dict[str, Any]:
        """Wait until every member is up; return what `state` returns.

        Raises:
            DeploymentError: A member could not start; the message says why.
        """
        while not self._is_whole:
            for name, reason in self._members.failures.items():
                raise DeploymentError(f"{name} did not start: {reason}")
            self._publisher.published.clear()
            await self._publisher.published.wait()
        await self._look()  # now that all processes are there to be counted
        return await self.state()

    @property
    def _is_whole(self) -> bool:
        pending = self._members.pending
        served = (site.endpoint or site.name in pending for site in self._publisher.table.sites)
        return all(served) and all(m.state is State.UP for m in self._members.states)

    async def state(self, starts: StartState | None = None) -> dict[str, Any]:
        """Return endpoints and processes of all members.

        Args:
            starts: How processes can be started now; None means as before.
        """
        if starts is not None:
            self._publisher.start_problem = starts.problem
            self._exports.show_starts(starts)
        return {
            "table_version": self._publisher.table.version,
            "registry_pid": os.getpid(),
            "node": _ray.node_name(),
            "metrics": self._exports.endpoints(self._members.announcements.values())
            | self._nodes.metrics_endpoints(),
            "members": self._members.described(),
            "deployment": self._spec.summary(),
        }

    async def change(self, change: Change) -> Changed:
        """Change what is served: make a release and switch to it, or change nothing.

        Answers under way finish as they began.

        Raises:
            GrowthRefused, ReloadRefused, UnknownKernel, IncompatibleKernels: The change cannot be
                made.
            KernelUnavailable: A kernel that has to load other weights is down.
        """
        outcome = "InternalError"
        try:
            async with self._changing:
                changed = await self._change(change)
            outcome = "ok"
        except ConstellationError as error:
            outcome = type(error).__name__
            raise
        finally:
            self._exports.count_change(change, outcome)
        return changed

    async def _change(self, change: Change) -> Changed:
        """Make the release that a change leads to, and switch to the release; or move kernels."""
        if isinstance(change, Rebalance):
            async with self._moving:
                moved = await self._moves.rebalance()
            version = self._publisher.table.version
            return Changed(release=self._served, table_version=version, moved=moved)
        try:
            release = await self._release_for(change)
        except ArtifactError as error:  # the store itself is damaged
            raise ReloadRefused(str(error)) from error
        async with self._moving:
            return await self._switch_to(release)

    async def _release_for(self, change: Change) -> Release:
        """Return the release that a change leads to; make the release if it does not exist."""
        spec, served = self._spec, self._served
        if isinstance(change, RollBack):
            return await asyncio.to_thread(release_access.earlier_release, spec, served, change)
        if isinstance(change, Reload):
            await asyncio.to_thread(release_access.check_written, spec)
            return await asyncio.to_thread(release_access.current_release, spec)
        await asyncio.to_thread(release_access.check_served, spec, served)
        version = await make_apart(spec, change)
        return await asyncio.to_thread(release_access.written_release, spec, version)

    async def _follow_current(self) -> None:
        """Serve the current release, to which an earlier registry did not finish switching."""
        reason = ""
        for _ in range(round(FOLLOW_S / HEARTBEAT_S)):
            try:
                async with self._changing:
                    current = await asyncio.to_thread(release_access.current_release, self._spec)
                    async with self._moving:
                        await self._switch_to(current)
            except ConstellationError as error:
                reason = str(error)
                if not error.retryable:
                    break
                await asyncio.sleep(HEARTBEAT_S)  # a process of kernels is restarting, too
            else:
                return
        facts = {"release": self._served, "reason": reason}
        logger.error("the current release is not served", extra=facts)

    async def _switch_to(self, release: Release) -> Changed:
        """Serve a release: load it beside what serves, make it current, then switch to it.

        Until the release is current, nothing has changed for callers, and failures are undone.
        """
        steps = await asyncio.to_thread(
            release_access.steps_to, self._spec, self._publisher.table, release
        )
        reloading = self._members.processes_of(steps.reloaded)
        table = await self._load(release, steps, reloading)
        if release.version != self._served:
            self._since_s = time.time()
        taken = {each.member: each for each in await take(reloading, release.version)}
        for member, announcement in taken.items():
            self._members.adopt(reloading[member], announcement)
        self._publisher.table = replace(table, version=self._publisher.table.version)
        leaving = [self._moves.forget(name) for name in steps.left]
        for name in steps.left:
            self._exports.forget(name)
        self._starts.ahead.clear()
        await self._place(self._members.placement)
        self._exports.describe(self._publisher.table, self._since_s)
        await self._look()
        await self._members.check(steps.joined)
        await self._publisher.publish_and_wait()
        for leave in leaving:
            await leave()
        if leaving and self._members.placement.pending:
            self._nodes.changed.set()  # there may be room now
        for member, announcement in tuple(self._members.announcements.items()):
            is_late = member in reloading.keys() - taken.keys()
            if is_late or self._members.missing(member):  # what was damaged may be whole now
                self._agree(announcement)
        changed = Changed(
            release=release.version,
            table_version=self._publisher.table.version,
            joined=steps.joined,
            left=steps.left,
            reloaded=steps.reloaded,
        )
        logger.info("release served", extra={**asdict(changed)})
        return changed

    async def _load(
        self, release: Release, steps: Steps, reloading: dict[str, KernelCalls]
    ) -> Table:
        """Load a release and make it current, or undo everything; return the release's table."""
        before = self._members.placement
        await asyncio.to_thread(release_access.fetch, self._spec, release)
        table = await asyncio.to_thread(table_of, self._spec, release)
        try:
            await prepare_routers(self._members.routers, table)
            await load_beside(reloading, release.version)
            for name in steps.joined:
                after = await self._placing.admitted(name, table, self._members.placement)
                await self._starts.start(name, after, release.version)
            await asyncio.to_thread(release_access.make_current, self._spec, release)
        except Exception:
            await forget(reloading)
            await self._starts.withdraw(steps.joined, before)
            with suppress(ConstellationError):
                # Routers drop the coordizer of the other release.
                await prepare_routers(self._members.routers, self._publisher.table)
            raise
        return table

    async def _follow_nodes(self) -> None:
        await self._nodes.wait_for_change()
        async with self._moving:
            await self._moves.follow_nodes()

    async def _place(self, placement: Placement) -> None:
        """Write the placement, by which processes that start choose their kernels."""
        self._members.placement = placement
        placed = Placed(
            placement=placement,
            release=self._served,
            since_s=self._since_s,
            ahead=dict(self._starts.ahead),
        )
        self._files.keep_placement(placed)
        await self._files.write()

    def _agree(self, announcement: Announcement) -> None:
        """Have a process serve exactly the kernels that are placed there, of the served release.

        A process serves other kernels when they were leaving while it or the registry restarted,
        and lacks kernels when it could not read the placement.
        """
        member = announcement.member
        for kernel in self._members.unplaced(announcement):
            self._draining.drain_kernel(kernel, self._members.processes[member])
        is_other = announcement.release not in (0, self._served)
        if is_other or self._members.missing(member):
            begin("completion", self._complete(member))

    async def _complete(self, member: str) -> None:
        """Have a process serve the kernels that it lacks, and the served release, with retries."""
        for _ in range(round(FOLLOW_S / HEARTBEAT_S)):
            async with self._changing:
                if member not in self._members.processes or await self._put_right(member):
                    return
            await asyncio.sleep(HEARTBEAT_S)

    async def _put_right(self, member: str) -> bool:
        """Try `_complete` once; return whether the process answered."""
        process, release = self._members.processes[member], self._served
        taken = await take({member: process}, release)
        for announcement in taken:
            self._members.adopt(process, announcement)
        for kernel in self._members.missing(member) if taken else ():
            try:
                _, announcement = await actor_lifecycle.start_kernel(
                    self._spec, member, process, kernel, release
                )
            except GrowthRefused as error:
                self._members.failures[kernel] = str(error)
                logger.error("kernel is not served", extra={"kernel": kernel, "reason": str(error)})
            else:
                self._members.failures.pop(kernel, None)
                self._members.adopt(process, announcement)
        if taken:
            self._publisher.publish()
        return bool(taken)

    async def drain(self, grace_s: float) -> None:
        """Stop supervising, then drain routers and kernels."""
        self._watch.cancel()
        await self._members.drain(grace_s)

    async def _look(self) -> None:
        """Read what routers are to know of releases, nodes and training."""
        nodes = [each.node for each in self._members.announcements.values()]
        own = await asyncio.to_thread(self._overviews.read, own_processes(nodes), self._since_s)
        self._publisher.overview = self._nodes.overview(own, nodes)

    def _publish(self) -> None:
        self._publisher.publish()

    async def _check_all(self) -> None:
        await self._members.check_all()
        self._publisher.send()


RegistryActor = _ray.ActorClass[RegistryCalls](RegistryProcess)
