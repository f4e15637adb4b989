"""The registry: creates the actors, watches over them, and publishes the table.

It watches by `members.py` and tells the routers what changed; kernels join and leave through it. It
holds nothing that cannot be asked for again: when it dies, Ray restarts it, it reads in the
artifacts which kernels there are, finds their actors by name and goes on.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import ray

from actors import _ray
from actors.background import begin, repeat
from actors.placing import read_placement
from actors.registry import growth
from actors.registry.exports import Exports
from actors.registry.heartbeat import ANSWER_S
from actors.registry.members import Members
from actors.registry.persistence import Persistence
from actors.registry.switching import switch
from actors.registry.tables import first_table, stored_table
from actors.router.host import Snapshot
from actors.spec import Announcement, DeploymentSpec, StartState
from constellation.errors import DeploymentError, GrowthRefused, ReloadRefused
from constellation.records import FloatArray, Grown, Reloaded, Table
from constellation.routing.growth import add_kernel, retire_kernel, spawn_kernel, unlearn_text
from constellation.runtime.placement import Placement
from constellation.runtime.supervisor import State
from constellation.telemetry.logs import set_up_logging
from constellation.wire.names import check_kernel_name
from constellation.wire.run_lock import owner_of

logger = logging.getLogger(__name__)

HEARTBEAT_S = 0.5
"""Seconds between two rounds of questions."""

Change = Callable[[Table], Table]
"""Makes of a table the next one."""


class RegistryProcess:
    """The registry inside a Ray actor."""

    async def __init__(self, spec: DeploymentSpec) -> None:  # type: ignore[misc]
        set_up_logging(spec.log_path(_ray.REGISTRY))
        self._spec = spec
        self._starts = StartState()
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._published = asyncio.Event()
        self._changing = asyncio.Lock()
        self._files = Persistence(spec)
        self._table = await asyncio.to_thread(first_table, spec)
        self._exports = Exports(spec)
        self._exports.describe(self._table)
        names = [site.name for site in self._table.sites]
        placement = read_placement(spec).fitted(names)
        # Written first: a process that starts finds its kernels there.
        self._files.keep_placement(placement)
        await self._files.write()
        self._members = Members(spec, placement, self._publish)
        for member, actor in self._members.strays().items():
            self._let_go(member, actor)
        if await self._members.find_survivors():
            # All at once: one by one would take the others from the routers' tables meanwhile.
            self._publish()
            for announcement in self._members.announcements.values():
                self._agree(announcement)
        self._watch = begin("supervision", repeat("heartbeats", self._check_all, HEARTBEAT_S))
        begin("persistence", repeat("run folder", self._files.write_next, 0.0))

    async def announced(self, announcement: Announcement) -> None:
        """Take note of where an actor listens: called by it when it has started."""
        if self._members.note(announcement):
            self._publish()
            self._agree(announcement)

    async def ready(self) -> dict[str, Any]:
        """Wait until every member is up; return what `state` returns.

        Raises:
            DeploymentError: One of them could not start; says why.
        """
        while not self._is_whole:
            for name, reason in self._members.failures.items():
                raise DeploymentError(f"{name} did not start: {reason}")
            self._published.clear()
            await self._published.wait()
        return await self.state()

    @property
    def _is_whole(self) -> bool:
        served = all(site.endpoint is not None for site in self._table.sites)
        return served and all(m.state is State.UP for m in self._members.states)

    async def state(self, starts: StartState | None = None) -> dict[str, Any]:
        """Return endpoints and processes of all members.

        Args:
            starts: How processes can be started now; None: as before.
        """
        if starts is not None:
            self._starts = starts
            self._exports.show_starts(starts)
        return {
            "table_version": self._table.version,
            "registry_pid": os.getpid(),
            "node": _ray.node_name(),
            "metrics": self._exports.endpoints(self._members.announcements.values()),
            "members": {
                m.name: {
                    "state": str(m.state),
                    "endpoint": m.endpoint,
                    "pid": m.pid,
                    "restarts": m.num_restarts,
                }
                for m in self._members.states
            },
        }

    async def reload(self) -> Reloaded:
        """Serve what training has written since, all of it or nothing.

        Every kernel loads beside what it serves; when all have, they switch, and the table
        follows. Answers under way are finished by the weights they began with.

        Raises:
            ReloadRefused: It does not fit what is served.
            KernelUnavailable: A kernel is down; it would load the new weights alone.
        """
        async with self._changing:
            if owner := await asyncio.to_thread(owner_of, self._spec.artifacts):
                raise ReloadRefused(
                    f"{self._spec.artifacts} is being written: {owner}; what it makes is complete "
                    "when it has ended"
                )
            table = await self._fitting_table()
            members = self._members
            processes = members.placement.processes
            names = await switch({member: members.actors[member] for member in processes})
            self._table = replace(table, version=self._table.version)
            self._exports.describe(self._table)
            await self._publish_and_wait()
            logger.info("reloaded", extra={"kernels": names, "version": self._table.version})
            return Reloaded(table_version=self._table.version, kernels=names)

    async def _fitting_table(self) -> Table:
        """Return what training wrote when its coordizer and kernels are those that serve."""
        table = await asyncio.to_thread(stored_table, self._spec)
        sites = {site.name: site for site in table.sites}
        served = [site.name for site in self._table.sites]
        if set(sites) != set(served):
            raise ReloadRefused(
                f"{self._spec.stored_table_path} has the kernels {sorted(sites)}, not "
                f"{sorted(served)}; restart with: constellation down, up"
            )
        if table.coordizer_hash != self._table.coordizer_hash:
            raise ReloadRefused(
                "it was trained with another coordizer; restart with: constellation down, up"
            )
        return replace(table, sites=tuple(sites[name] for name in served))

    async def add(self, name: str) -> Grown:
        """Take in a kernel whose folder and site lie in the artifacts.

        Raises:
            GrowthRefused: It does not fit, or did not come up; nothing has changed.
            IncompatibleKernels: It speaks another vocabulary.
        """
        check_kernel_name("name", name)
        async with self._changing:
            candidate = await asyncio.to_thread(growth.read_candidate, self._spec, name)
            return await self._take_in(name, lambda table: add_kernel(table, candidate))

    async def spawn(self, parent: str, name: str, queries_NK: FloatArray) -> Grown:
        """Share a kernel's queries with a new one that begins with the same weights.

        Raises:
            UnknownKernel: There is no `parent`.
            GrowthRefused: It cannot be split, or its child did not come up; nothing has changed.
        """
        check_kernel_name("name", name)
        async with self._changing:
            change = partial(
                spawn_kernel, parent=parent, child=name, queries_NK=np.asarray(queries_NK)
            )
            change(self._table)  # what is refused is refused before anything is written
            await asyncio.to_thread(growth.copy_weights, self._spec, parent, name)
            return await self._take_in(name, change)

    async def _take_in(self, name: str, change: Change) -> Grown:
        """Start a kernel; when it is up, let the tables have it."""
        change(self._table)
        stored = await asyncio.to_thread(self._changed_on_disk, name, change)
        before = self._members.placement
        after = before.joined(name)
        member = after.of(name)
        namesakes = [task for key, task in self._leaving.items() if key in (name, member)]
        if namesakes:  # they finish their last answers
            await asyncio.wait(namesakes)
        actor = self._members.actors.get(member)
        try:
            # Written first: a process that dies meanwhile starts again with all its kernels.
            await self._place(after)
            actor, announcement = await growth.start_kernel(self._spec, member, actor, name)
            await growth.store_table(self._spec, name, stored)
        except GrowthRefused:
            await self._place(before)
            await growth.withdraw(self._spec, member, self._members.actors.get(member), name)
            raise
        self._members.take_in(actor, announcement)
        return await self._publish_growth(name, change(self._table))

    async def _place(self, placement: Placement) -> None:
        """Let processes that start serve these kernels."""
        self._members.placement = placement
        self._files.keep_placement(placement)
        await self._files.write()

    async def retire(self, name: str) -> Grown:
        """Let a kernel go: first its queries go elsewhere, then it finishes what it is doing.

        Where it routed from is kept beside its weights, by which `add` takes it back.

        Raises:
            UnknownKernel: There is none of that name.
            GrowthRefused: It is the only one, or its site cannot be kept.
        """
        async with self._changing:
            change = partial(retire_kernel, name=name)
            table = change(self._table)
            seat = next(site.seat for site in self._table.sites if site.name == name)
            stored = await asyncio.to_thread(self._changed_on_disk, name, change)
            await growth.keep_site(self._spec, name)
            await growth.store_table(self._spec, name, stored)
            member, actor, others_stay = self._members.forget(name)
            self._exports.forget(name)
            grown = await self._publish_growth(name, table)
            if others_stay:
                self._let_leave(name, actor)
            else:
                await self._members.hang_up(member)
                self._let_go(member, actor)
            return replace(grown, seat=seat)

    async def unlearn(self, name: str, source: str) -> Grown:
        """Let a kernel route as if it had never read a source of its training text.

        Raises:
            UnknownKernel: There is none of that name.
            GrowthRefused: The source does not count for it, or cannot be taken out.
        """
        async with self._changing:
            texts = await asyncio.to_thread(growth.read_texts, self._spec, self._table, name)
            change = partial(unlearn_text, texts=texts, source=source)
            table = change(self._table)
            stored = await asyncio.to_thread(self._changed_on_disk, name, change)
            await growth.store_table(self._spec, name, stored)
            return await self._publish_growth(name, table)

    def _agree(self, announcement: Announcement) -> None:
        """Have a process serve the kernels that are placed there, and no others.

        It serves others when they were leaving as this registry, or the process, started again; and
        it lacks some when it could not read the run folder.
        """
        member = announcement.member
        for kernel in self._members.unplaced(announcement):
            self._let_leave(kernel, self._members.actors[member])
        if self._members.missing(member):
            begin("completion", self._complete(member))

    async def _complete(self, member: str) -> None:
        """Let a process serve the kernels that it lacks."""
        async with self._changing:
            for kernel in self._members.missing(member):
                actor = self._members.actors[member]
                try:
                    _, announcement = await growth.start_kernel(self._spec, member, actor, kernel)
                except GrowthRefused as error:
                    self._members.failures[kernel] = str(error)
                    facts = {"kernel": kernel, "reason": str(error)}
                    logger.error("kernel is not served", extra=facts)
                else:
                    self._members.failures.pop(kernel, None)
                    self._members.take_in(actor, announcement)
            self._publish()

    def _let_go(self, member: str, actor: Any) -> None:
        """Let a process end when it has finished what it is doing."""
        self._wait_for(member, growth.let_go(self._spec, member, actor))

    def _let_leave(self, kernel: str, actor: Any) -> None:
        """Let a kernel leave its process when it has finished what it is doing."""
        self._wait_for(kernel, growth.let_leave(self._spec, kernel, actor))

    def _wait_for(self, name: str, leaving: Coroutine[Any, Any, None]) -> None:
        task = begin("leaving", leaving)
        self._leaving[name] = task
        task.add_done_callback(lambda _: self._leaving.pop(name, None))

    def _changed_on_disk(self, name: str, change: Change) -> Table:
        """Return what the table of the artifacts becomes; served and stored kernels agree."""
        stored = stored_table(self._spec)
        if {site.name for site in stored.sites} != set(self._members.kernels):
            raise GrowthRefused(
                name,
                f"{self._spec.stored_table_path} has other kernels than are served; restart with: "
                "constellation down, up",
            )
        return change(stored)

    async def _publish_growth(self, name: str, table: Table) -> Grown:
        self._table = replace(table, version=self._table.version)
        self._exports.describe(self._table)
        await self._publish_and_wait()
        seat = next((site.seat for site in table.sites if site.name == name), None)
        logger.info("table changed", extra={"kernel": name, "version": self._table.version})
        return Grown(kernel=name, seat=seat, table_version=self._table.version)

    async def drain(self, grace_s: float) -> None:
        """Stop supervising, then let routers and kernels finish what they are doing."""
        self._watch.cancel()
        await self._members.drain(grace_s)

    async def _check_all(self) -> None:
        await self._members.check_all()
        self._tell_routers()

    async def _publish_and_wait(self) -> None:
        """Publish the next version; return when every router has taken it."""
        told = self._publish()
        # A router that is down reads this version from the run folder when it starts.
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await told

    def _publish(self) -> Any:
        """Make the next version of the table from who is up; tell the routers, and have it written.

        Returns:
            What can be awaited for every router's having taken it or having died.
        """
        members = self._members
        self._table = replace(
            self._table,
            version=self._table.version + 1,
            sites=tuple(
                replace(site, endpoint=members.endpoint_of(site.name)) for site in self._table.sites
            ),
        )
        told = self._tell_routers()
        self._exports.count(self._table.version, members.health())
        self._published.set()
        self._files.keep_placement(members.placement)
        targets = self._exports.targets(members.announcements.values())
        self._files.keep(self._table, members.remembered(), targets)
        return told

    def _tell_routers(self) -> Any:
        snapshot = Snapshot(
            table=self._table,
            health=self._members.health(),
            registry_pid=os.getpid(),
            routers=self._members.router_health(),
            start_problem=self._starts.problem,
        )
        told = asyncio.gather(
            *(self._members.actors[name].update.remote(snapshot) for name in self._members.routers),
            return_exceptions=True,
        )
        told.add_done_callback(self._check_replies)
        return told

    def _check_replies(self, told: "asyncio.Future[list[Any]]") -> None:
        """Log who failed to take a table; go beyond the version of one that has a newer one."""
        if told.cancelled():
            return
        newest = self._table.version
        for router, answer in zip(self._members.routers, told.result(), strict=True):
            if isinstance(answer, int):
                newest = max(newest, answer)
            elif not isinstance(answer, ray.exceptions.RayActorError):  # one that is down
                facts = {"router": router, "reason": repr(answer)}
                logger.error("router did not take the table", extra=facts)
        if newest > self._table.version:
            # The run folder was lost, and with it how far this registry's predecessor had counted.
            self._table = replace(self._table, version=newest)
            self._publish()


RegistryActor = ray.remote(RegistryProcess)
