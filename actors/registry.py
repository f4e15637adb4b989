"""The registry: creates the actors, watches over them, and publishes the table.

It watches by `members.py` and tells the router what changed; kernels join and leave through it. It
holds nothing that cannot be asked for again: when it dies, Ray restarts it, it reads in the
artifacts which kernels there are, finds their actors by name and goes on.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import ray

from actors import _ray, growth
from actors._ray import ROUTER
from actors.exports import Exports
from actors.heartbeat import ANSWER_S
from actors.members import Members
from actors.router import Snapshot
from actors.spec import Announcement, DeploymentSpec
from actors.switching import switch
from constellation.errors import GrowthRefused, ReloadRefused
from constellation.records import FloatArray, Grown, Reloaded, Table
from constellation.routing.growth import add_kernel, retire_kernel, spawn_kernel
from constellation.runtime.supervisor import State
from constellation.telemetry.logs import set_up_logging
from constellation.wire.names import check_kernel_name
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
            # All at once: one by one would take the others from the router's table meanwhile.
            self._publish()
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

    async def ready(self) -> dict[str, Any]:
        """Wait until every member is up; return what `state` returns."""
        await self._all_up.wait()
        return await self.state()

    async def state(self) -> dict[str, Any]:
        """Return endpoints and processes of all members."""
        return {
            "table_version": self._table.version,
            "registry_pid": os.getpid(),
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
            table = await self._fitting_table()
            members = self._members
            names = await switch(
                {name: members.actors[member] for member, name in members.kernels.items()}
            )
            self._table = replace(table, version=self._table.version)
            self._exports.describe(self._table)
            self._publish()
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
        member = _ray.kernel_member(name)
        if member in self._leaving:  # a namesake finishes its last answers
            await asyncio.wait([self._leaving[member]])
        actor, announcement = await growth.start_kernel(self._spec, name)
        await growth.store_table(self._spec, name, stored)
        self._members.take_in(name, actor, announcement)
        return await self._publish_growth(name, change(self._table))

    async def retire(self, name: str) -> Grown:
        """Let a kernel go: first its queries go elsewhere, then it finishes what it is doing.

        Raises:
            UnknownKernel: There is none of that name.
            GrowthRefused: It is the only one.
        """
        async with self._changing:
            change = partial(retire_kernel, name=name)
            table = change(self._table)
            seat = next(site.seat for site in self._table.sites if site.name == name)
            stored = await asyncio.to_thread(self._changed_on_disk, name, change)
            await growth.store_table(self._spec, name, stored)
            member = _ray.kernel_member(name)
            actor = self._members.forget(member)
            self._exports.forget(name)
            grown = await self._publish_growth(name, table)
            await self._members.hang_up(member)
            self._let_go(member, actor)
            return replace(grown, seat=seat)

    def _let_go(self, member: str, actor: Any) -> None:
        task = asyncio.create_task(growth.let_go(self._spec, member, actor))
        self._leaving[member] = task
        task.add_done_callback(lambda _: self._leaving.pop(member, None))

    def _changed_on_disk(self, name: str, change: Change) -> Table:
        """Return what the table of the artifacts becomes; served and stored kernels agree."""
        stored = self._stored_table()
        if {site.name for site in stored.sites} != set(self._members.kernels.values()):
            raise GrowthRefused(
                name,
                f"{self._spec.stored_table_path} has other kernels than are served; restart with: "
                "constellation down, up",
            )
        return change(stored)

    async def _publish_growth(self, name: str, table: Table) -> Grown:
        self._table = replace(table, version=self._table.version)
        self._exports.describe(self._table)
        told = self._publish()
        # A router that is down reads this version from the run folder when it starts.
        with suppress(ray.exceptions.RayActorError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await told
        seat = next((site.seat for site in table.sites if site.name == name), None)
        logger.info("table changed", extra={"kernel": name, "version": self._table.version})
        return Grown(kernel=name, seat=seat, table_version=self._table.version)

    async def drain(self, grace_s: float) -> None:
        """Stop supervising, then let router and kernels finish what they are doing."""
        self._watch.cancel()
        await self._members.drain(grace_s)

    async def _run(self) -> None:
        while True:
            started_s = time.monotonic()
            await self._members.check_all()
            self._tell_router()
            await asyncio.sleep(max(0.0, HEARTBEAT_S - (time.monotonic() - started_s)))

    def _publish(self) -> Any:
        """Make the next version of the table from who is up, store it, tell the router.

        Returns:
            What can be awaited for the router's having taken it.
        """
        members = self._members
        self._table = replace(
            self._table,
            version=self._table.version + 1,
            sites=tuple(
                replace(site, endpoint=members.state(_ray.kernel_member(site.name)).endpoint)
                for site in self._table.sites
            ),
        )
        save_table(self._spec.table_path, self._table)
        self._exports.write_targets(members.announcements.values())
        self._exports.count(
            self._table.version,
            {kernel: members.state(member) for member, kernel in members.kernels.items()},
        )
        if all(m.state is State.UP for m in members.states):
            self._all_up.set()
        return self._tell_router()

    def _tell_router(self) -> Any:
        snapshot = Snapshot(
            table=self._table, health=self._members.health(), registry_pid=os.getpid()
        )
        return self._members.actors[ROUTER].update.remote(snapshot)


RegistryActor = ray.remote(RegistryProcess)
