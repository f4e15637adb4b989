"""The registry: creates the actors, watches them, and publishes the table.

The supervisor decides; this shell asks every member how it is, obeys, and tells the routers what
changed. It holds nothing that cannot be asked for again: when it dies, Ray restarts it, it finds
the actors by name and goes on.
"""

import asyncio
import json
import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import ray
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from actors import _ray
from actors._ray import ROUTER
from actors.kernel import KernelActor
from actors.router import Snapshot
from actors.router_process import RouterActor
from actors.spec import Announcement, DeploymentSpec
from constellation.errors import (
    ArtifactError,
    ConstellationError,
    KernelUnavailable,
    ReloadRefused,
)
from constellation.geometry import pairwise_distances
from constellation.records import KernelHealth, Reloaded, Table
from constellation.runtime.supervisor import Member, Restart, State, Supervisor, SupervisorConfig
from constellation.telemetry.logs import set_up_logging
from constellation.telemetry.metrics import RegistryMetrics, serve_metrics
from constellation.wire import channel, convert, services
from constellation.wire.table_file import load_table, save_table

logger = logging.getLogger(__name__)

HEARTBEAT_S = 0.5
"""Seconds between two rounds of questions."""

ANSWER_S = 1.0
"""Seconds a member may take to answer one."""


class RegistryProcess:
    """The registry inside a Ray actor."""

    async def __init__(self, spec: DeploymentSpec) -> None:  # type: ignore[misc]
        set_up_logging(spec.log_path(_ray.REGISTRY))
        self._spec = spec
        self._kernels = {_ray.kernel_member(name): name for name in spec.kernels}
        self._supervisor = Supervisor(SupervisorConfig())
        self._announcements: dict[str, Announcement] = {}
        self._health: dict[str, KernelHealth] = {}
        self._channels: dict[str, tuple[str, grpc.aio.Channel]] = {}
        self._counted = dict.fromkeys(self._kernels, 0)  # restarts already in the metric
        self._all_up = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._table = await asyncio.to_thread(self._load_table)
        self._metrics = RegistryMetrics(CollectorRegistry())
        self._metrics_endpoint, _ = serve_metrics(self._metrics.registry, spec.host)
        self._describe_constellation()
        self._actors = self._create_actors()
        await self._find_survivors()
        self._watch = asyncio.create_task(self._run())

    def _load_table(self) -> Table:
        trained = self._trained_table()
        version = trained.version
        if self._spec.table_path.exists():  # a restart: versions only ever rise
            version = max(version, load_table(self._spec.table_path).version)
        return replace(trained, version=version + 1)

    def _trained_table(self) -> Table:
        """Return the table that training wrote, its sites in our order."""
        trained = load_table(self._spec.artifacts / "table.msgpack")
        sites = {site.name: replace(site, endpoint=None) for site in trained.sites}
        if set(sites) != set(self._spec.kernels):
            raise ArtifactError(
                self._spec.artifacts / "table.msgpack",
                f"has the kernels {sorted(sites)}, not {sorted(self._spec.kernels)}",
            )
        return replace(trained, sites=tuple(sites[name] for name in self._spec.kernels))

    def _create_actors(self) -> dict[str, Any]:
        actors = {ROUTER: _ray.create(RouterActor, ROUTER, self._spec, ROUTER)}
        for member, kernel in self._kernels.items():
            actors[member] = _ray.create(KernelActor, member, self._spec, kernel)
        for member in actors:
            self._supervisor.expect(member, now_s=time.monotonic())
        return actors

    async def _find_survivors(self) -> None:
        """Take in the actors that were here before a restart of ours, all at once.

        Publishing them one by one would take the others from the router's table meanwhile.
        Actors that are only starting do not answer yet; they announce themselves later.
        """
        asked = [asyncio.create_task(_where(actor)) for actor in self._actors.values()]
        answered, silent = await asyncio.wait(asked, timeout=ANSWER_S)
        for task in silent:
            task.cancel()
        for task in answered:
            announcement = task.result()
            if announcement is not None:
                self._note(announcement)
        if answered:
            self._publish()

    async def announced(self, announcement: Announcement) -> None:
        """Take note of where an actor listens: called by it when it has started."""
        if self._note(announcement):
            self._publish()

    def _note(self, announcement: Announcement) -> bool:
        news = self._supervisor.announced(
            announcement.member,
            endpoint=announcement.endpoint,
            pid=announcement.pid,
            now_s=time.monotonic(),
        )
        if news:
            logger.info("member up", extra={"member": announcement.member, "pid": announcement.pid})
            self._announcements[announcement.member] = announcement
        return news

    async def ready(self) -> dict[str, Any]:
        """Wait until every member is up; return what `state` returns."""
        await self._all_up.wait()
        return await self.state()

    async def state(self) -> dict[str, Any]:
        """Return endpoints and processes of all members."""
        members = self._supervisor.members.values()
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
                for m in members
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
        async with self._reloading:
            table = await self._fitting_table()
            kernels = {name: self._actors[member] for member, name in self._kernels.items()}
            try:
                changed = await _each(kernels, "load_next")
            except ConstellationError:
                await _each(kernels, "forget_next")
                raise
            await _each(kernels, "take_next")
            self._table = replace(table, version=self._table.version)
            self._describe_constellation()
            self._publish()
            names = tuple(name for name, new in changed.items() if new)
            logger.info("reloaded", extra={"kernels": names, "version": self._table.version})
            return Reloaded(table_version=self._table.version, kernels=names)

    async def _fitting_table(self) -> Table:
        """Return what training wrote when its coordizer and kernels are those that serve."""
        try:
            table = await asyncio.to_thread(self._trained_table)
        except ArtifactError as error:
            raise ReloadRefused(f"{error}; restart with: constellation down, up") from error
        if table.coordizer_hash != self._table.coordizer_hash:
            raise ReloadRefused(
                "it was trained with another coordizer; restart with: constellation down, up"
            )
        return table

    async def drain(self, grace_s: float) -> None:
        """Stop supervising, then let router and kernels finish what they are doing."""
        self._watch.cancel()
        await asyncio.gather(
            *(actor.drain.remote(grace_s) for actor in self._actors.values()),
            return_exceptions=True,
        )

    async def _run(self) -> None:
        while True:
            started_s = time.monotonic()
            await asyncio.gather(*(self._check(member) for member in self._actors))
            for command in self._supervisor.overdue(now_s=time.monotonic()):
                self._obey(command)
            self._tell_router()
            await asyncio.sleep(max(0.0, HEARTBEAT_S - (time.monotonic() - started_s)))

    async def _check(self, member: str) -> None:
        state = self._supervisor.members[member]
        if state.state is not State.UP or state.endpoint is None:
            return
        endpoint = state.endpoint
        try:
            await self._ask(member, endpoint)
        except grpc.aio.AioRpcError as error:
            self._note_silence(member, endpoint, error)
        else:
            self._supervisor.answered(member)

    async def _ask(self, member: str, endpoint: str) -> None:
        connection = self._channel(member, endpoint)
        metadata = channel.credentials(self._spec.token)
        if member not in self._kernels:
            stub = health_pb2_grpc.HealthStub(connection)
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_S)
            return
        stub = services.Stub(connection, services.KERNEL)
        request = services.request_class(services.KERNEL, "Describe")()
        reply = await stub.Describe(request, timeout=ANSWER_S, metadata=metadata)
        described = convert.description_from_message(reply)
        name = self._kernels[member]
        self._health[name] = KernelHealth(
            name=name,
            up=True,
            pid=described.pid,
            num_restarts=self._supervisor.members[member].num_restarts,
            queue_depth=described.queue_depth,
            num_running=described.num_running,
        )

    def _note_silence(self, member: str, endpoint: str, error: grpc.aio.AioRpcError) -> None:
        now_s = time.monotonic()
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            if self._supervisor.refused(member, endpoint, now_s=now_s):
                logger.warning("member lost", extra={"member": member, "endpoint": endpoint})
                self._publish()
            return
        for command in self._supervisor.timed_out(member, now_s=now_s):
            self._obey(command)
            self._publish()

    def _obey(self, command: Restart) -> None:
        logger.warning("member restarted", extra={"member": command.name, "reason": command.reason})
        _ray.restart(command.name, self._spec.namespace)

    def _channel(self, member: str, endpoint: str) -> grpc.aio.Channel:
        known = self._channels.get(member)
        if known is None or known[0] != endpoint:
            opened = grpc.aio.insecure_channel(endpoint, options=channel.CHANNEL_OPTIONS)
            self._channels[member] = known = (endpoint, opened)
        return known[1]

    def _publish(self) -> None:
        """Make the next version of the table from who is up, store it, tell the router."""
        members = self._supervisor.members
        for member, kernel in self._kernels.items():
            m = members[member]
            known = self._health.get(kernel)
            if known is None or known.pid != m.pid or known.up != (m.state is State.UP):
                self._health[kernel] = _health(kernel, m)
        self._table = replace(
            self._table,
            version=self._table.version + 1,
            sites=tuple(
                replace(site, endpoint=members[_ray.kernel_member(site.name)].endpoint)
                for site in self._table.sites
            ),
        )
        save_table(self._spec.table_path, self._table)
        self._write_targets()
        self._count()
        self._tell_router()
        if all(m.state is State.UP for m in members.values()):
            self._all_up.set()

    def _tell_router(self) -> None:
        snapshot = Snapshot(table=self._table, health=dict(self._health), registry_pid=os.getpid())
        self._actors[ROUTER].update.remote(snapshot)

    def _write_targets(self) -> None:
        """Write the Prometheus file_sd list of every process's /metrics."""
        endpoints = {_ray.REGISTRY: self._metrics_endpoint}
        endpoints |= {name: a.metrics_endpoint for name, a in self._announcements.items()}
        groups = [
            {"targets": [endpoint], "labels": {"member": name}}
            for name, endpoint in sorted(endpoints.items())
        ]
        _replace_text(self._spec.run_dir / "metrics_targets.json", json.dumps(groups, indent=1))

    def _describe_constellation(self) -> None:
        basin_NK = np.stack([site.basin_K for site in self._table.sites])
        distance_NN = pairwise_distances(basin_NK, basin_NK)
        pairs = len(basin_NK) * (len(basin_NK) - 1)
        self._metrics.basin_spread.set(distance_NN.sum() / pairs if pairs else 0.0)
        for site in self._table.sites:
            if site.phi_gauge is not None:
                self._metrics.phi.labels(site.name).set(site.phi_gauge)

    def _count(self) -> None:
        self._metrics.table_version.set(self._table.version)
        for member, kernel in self._kernels.items():
            m = self._supervisor.members[member]
            self._metrics.up.labels(kernel).set(m.state is State.UP)
            self._metrics.restarts.labels(kernel).inc(m.num_restarts - self._counted[member])
            self._counted[member] = m.num_restarts


def _health(kernel: str, member: Member) -> KernelHealth:
    up = member.state is State.UP
    return KernelHealth(
        name=kernel, up=up, pid=member.pid if up else 0, num_restarts=member.num_restarts
    )


async def _where(actor: Any) -> Announcement | None:
    try:
        announcement: Announcement = await actor.where.remote()
    except ray.exceptions.RayActorError:
        return None  # it died meanwhile; its successor will announce itself
    return announcement


async def _each(kernels: dict[str, Any], method: str) -> dict[str, Any]:
    """Call a method of every kernel; return what they say, by kernel.

    Raises:
        ReloadRefused, KernelUnavailable: What the first that failed ran into; all have ended.
    """
    calls = [getattr(actor, method).remote() for actor in kernels.values()]
    results = await asyncio.gather(*calls, return_exceptions=True)
    for name, result in zip(kernels, results, strict=True):
        if isinstance(result, ray.exceptions.RayActorError):
            raise KernelUnavailable(name, "its process is restarting") from result
        if isinstance(result, ray.exceptions.RayTaskError):
            if isinstance(result.cause, ArtifactError):
                raise ReloadRefused(str(result.cause)) from result
            raise result
        if isinstance(result, BaseException):
            raise result
    return dict(zip(kernels, results, strict=True))


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.part")
    temporary.write_text(text)
    temporary.replace(path)


RegistryActor = ray.remote(RegistryProcess)
