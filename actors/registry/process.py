"""The registry: creates the actors, watches over them, and publishes the table.

It watches by `members.py` and tells the routers what changed; kernels join and leave through it. It
holds nothing that cannot be asked for again: when it dies, Ray restarts it, it reads in the
artifacts which kernels there are, finds their actors by name and goes on.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import ray

from actors import _ray
from actors.registry import growth
from actors.registry.exports import Exports
from actors.registry.heartbeat import ANSWER_S
from actors.registry.members import Members
from actors.registry.switching import switch
from actors.router.host import Snapshot
from actors.spec import Announcement, DeploymentSpec
from constellation.errors import GrowthRefused, ReloadRefused
from constellation.records import FloatArray, Grown, Reloaded, Table
from constellation.routing.growth import add_kernel, retire_kernel, spawn_kernel, unlearn_text
from constellation.runtime.supervisor import State
from constellation.telemetry.logs import set_up_logging
from constellation.wire.names import check_kernel_name
from constellation.wire.run_lock import owner_of
from constellation.wire.table_file import load_table, save_table

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
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._all_up = asyncio.Event()
        self._changing = asyncio.Lock()
        self._table = await asyncio.to_thread(self._load_table)
        self._exports = Exports(spec)
        self._exports.describe(self._table)
        names = [site.name for site in self._table.sites]
        self._members = Members(spec, names, self._publish)
        for member, actor in self._members.strays().items():
            self._let_go(member, actor)
        if await self._members.find_survivors():
            # All at once: one by one would take the others from the routers' tables meanwhile.
            self._publish()
            for announcement in self._members.announcements.values():
                self._let_unplaced_leave(announcement)
        self._watch = asyncio.create_task(self._run())

    def _load_table(self) -> Table:
        trained = self._stored_table()
        version = trained.version
        if self._spec.table_path.exists():  # a restart: versions only ever rise
            version = max(version, load_table(self._spec.table_path).version)
        return replace(trained, version=version + 1)

    def _stored_table(self) -> Table:
        """Return the table of the artifacts, by which a restart finds the same kernels."""
        stored = load_table(self._spec.stored_table_path)
        return replace(stored, sites=tuple(replace(site, endpoint=None) for site in stored.sites))

    async def announced(self, announcement: Announcement) -> None:
        """Take note of where an actor listens: called by it when it has started."""
        if self._members.note(announcement):
            self._publish()
            self._let_unplaced_leave(announcement)

    async def ready(self) -> dict[str, Any]:
        """Wait until every member is up; return what `state` returns."""
        await self._all_up.wait()
        return await self.state()

    async def state(self) -> dict[str, Any]:
        """Return endpoints and processes of all members."""
        return {
            "table_version": self._table.version,
            "registry_pid": os.getpid(),
            "node": _ray.node_name(),
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
        table = await asyncio.to_thread(self._stored_table)
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
            self._members.place(after)
            actor, announcement = await growth.start_kernel(self._spec, member, actor, name)
            await growth.store_table(self._spec, name, stored)
        except GrowthRefused:
            self._members.place(before)
            await growth.withdraw(self._spec, member, self._members.actors.get(member), name)
            raise
        self._members.take_in(actor, announcement)
        return await self._publish_growth(name, change(self._table))

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

    def _let_unplaced_leave(self, announcement: Announcement) -> None:
        """Let kernels go that were leaving when this registry, or their process, started again."""
        for kernel in self._members.unplaced(announcement):
            self._let_leave(kernel, self._members.actors[announcement.member])

    def _let_go(self, member: str, actor: Any) -> None:
        """Let a process end when it has finished what it is doing."""
        self._wait_for(member, growth.let_go(self._spec, member, actor))

    def _let_leave(self, kernel: str, actor: Any) -> None:
        """Let a kernel leave its process when it has finished what it is doing."""
        self._wait_for(kernel, growth.let_leave(self._spec, kernel, actor))

    def _wait_for(self, name: str, leaving: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(leaving)
        self._leaving[name] = task
        task.add_done_callback(lambda _: self._leaving.pop(name, None))

    def _changed_on_disk(self, name: str, change: Change) -> Table:
        """Return what the table of the artifacts becomes; served and stored kernels agree."""
        stored = self._stored_table()
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

    async def _run(self) -> None:
        while True:
            started_s = time.monotonic()
            await self._members.check_all()
            self._tell_routers()
            await asyncio.sleep(max(0.0, HEARTBEAT_S - (time.monotonic() - started_s)))

    async def _publish_and_wait(self) -> None:
        """Publish the next version; return when every router has taken it."""
        told = self._publish()
        # A router that is down reads this version from the run folder when it starts.
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await told

    def _publish(self) -> Any:
        """Make the next version of the table from who is up, store it, tell the routers.

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
        save_table(self._spec.table_path, self._table)
        members.remember()
        self._exports.write_targets(members.announcements.values())
        self._exports.count(self._table.version, members.health())
        served = all(site.endpoint is not None for site in self._table.sites)
        if served and all(m.state is State.UP for m in members.states):
            self._all_up.set()
        return self._tell_routers()

    def _tell_routers(self) -> Any:
        snapshot = Snapshot(
            table=self._table,
            health=self._members.health(),
            registry_pid=os.getpid(),
            routers=self._members.router_health(),
        )
        told = [
            self._members.actors[name].update.remote(snapshot) for name in self._members.routers
        ]
        return asyncio.gather(*told, return_exceptions=True)


RegistryActor = ray.remote(RegistryProcess)
