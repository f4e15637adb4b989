"""RouterProcess: a RouterHost inside a Ray actor."""

import asyncio
import logging
import os
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from actors import _ray
from actors.router.doors import Doors
from actors.router.host import RouterHost, Snapshot
from actors.run_folder import last_table
from actors.spec import Announcement, DeploymentSpec
from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ConstellationError, ServiceUnavailable
from constellation.records import FloatArray, Grown, Reloaded
from constellation.telemetry.logs import set_up_logging
from constellation.telemetry.metrics import serve_metrics

logger = logging.getLogger(__name__)


class RegistryLink:
    """Passes what clients ask to be changed on to the registry: rare, small, by Ray call."""

    def __init__(self, spec: DeploymentSpec) -> None:
        self._spec = spec

    async def reload(self) -> Reloaded:
        """Serve what training has written since; errors as the registry's."""
        reloaded: Reloaded = await self._call("reload")
        return reloaded

    async def add(self, name: str) -> Grown:
        """Take in a kernel; errors as the registry's."""
        grown: Grown = await self._call("add", name)
        return grown

    async def spawn(self, parent: str, name: str, queries_NK: FloatArray) -> Grown:
        """Share a kernel's queries with a new one; errors as the registry's."""
        grown: Grown = await self._call("spawn", parent, name, queries_NK)
        return grown

    async def retire(self, name: str) -> Grown:
        """Let a kernel go; errors as the registry's."""
        grown: Grown = await self._call("retire", name)
        return grown

    async def unlearn(self, name: str, source: str) -> Grown:
        """Let a kernel forget a source; errors as the registry's."""
        grown: Grown = await self._call("unlearn", name, source)
        return grown

    async def _call(self, method: str, *arguments: Any) -> Any:
        registry = _ray.find(_ray.REGISTRY, self._spec.namespace)
        if registry is None:
            raise ServiceUnavailable("the registry", "it is starting")
        try:
            return await getattr(registry, method).remote(*arguments)
        except RayActorError as error:
            raise ServiceUnavailable("the registry", "it is restarting") from error
        except RayTaskError as error:
            if isinstance(error.cause, ConstellationError):
                raise error.cause from error
            raise


class RouterProcess:
    """Loads, serves from the last table, announces itself, takes new tables."""

    async def __init__(self, spec: DeploymentSpec, name: str) -> None:  # type: ignore[misc]
        set_up_logging(spec.log_path(name))
        coordizer = await asyncio.to_thread(Coordizer.load, spec.artifacts / "coordizer")
        self._host = RouterHost(
            coordizer, spec.router, token=spec.token, administrator=RegistryLink(spec)
        )
        table = last_table(spec.table_path)
        if table is not None:
            # A router that restarts answers at once, from the last table, registry or not.
            await self._host.update(Snapshot(table=table, health={}, registry_pid=0))
        self._doors = Doors(self._host, spec, name)
        endpoint = await self._doors.open()
        metrics_endpoint, _ = serve_metrics(self._host.metrics.registry, spec.host)
        self._announcement = Announcement(
            member=name,
            endpoint=endpoint,
            metrics_endpoint=metrics_endpoint,
            pid=os.getpid(),
            node=_ray.node_name(),
        )
        told = _ray.announce(spec, self._announcement)
        logger.info("router serves", extra={"endpoint": endpoint, "registry_told": told})

    async def where(self) -> Announcement:
        """Say where this router listens."""
        return self._announcement

    async def update(self, snapshot: Snapshot) -> int:
        """Take a new table from the registry; return the version that is in use now."""
        return await self._host.update(snapshot)

    async def drain(self, grace_s: float) -> None:
        """Refuse new calls and finish the running ones."""
        await self._doors.close(grace_s=grace_s)


RouterActor = ray.remote(RouterProcess)
