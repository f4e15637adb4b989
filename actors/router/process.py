"""RouterProcess: a RouterHost inside a Ray actor."""

import logging
import os
from dataclasses import replace

from ray.exceptions import RayActorError, RayTaskError

from actors import _ray
from actors.actor_calls import RegistryCalls, RouterCalls
from actors.registry_messages import HealthChange, Held, Snapshot
from actors.release_files import releases_here
from actors.router.host import RouterHost
from actors.router.listeners import Doors
from actors.run_folder import last_table
from actors.spec import Announcement, DeploymentSpec
from constellation.errors import ConstellationError, ServiceUnavailable
from constellation.records import Change, Changed, Table
from constellation.releases.release_coordizers import ReleasedCoordizers
from constellation.telemetry.logs import set_up_logging
from constellation.telemetry.process_metrics import serve_metrics

logger = logging.getLogger(__name__)


class RegistryLink:
    """Forwards clients' changes to the registry by Ray calls, which are rare and small."""

    def __init__(self, spec: DeploymentSpec) -> None:
        self._spec = spec

    async def change(self, change: Change) -> Changed:
        """Change what is served; raises the errors of the registry."""
        registry = _ray.find(RegistryCalls, _ray.REGISTRY, self._spec.namespace)
        if registry is None:
            raise ServiceUnavailable("the registry", "it is starting")
        try:
            return await registry.change(change)
        except RayActorError as error:
            raise ServiceUnavailable("the registry", "it is restarting") from error
        except RayTaskError as error:
            if isinstance(error.cause, ConstellationError):
                raise error.cause from error
            raise


class RouterProcess:
    """Serves from the last table at once, announces itself, and takes new tables."""

    async def __init__(self, spec: DeploymentSpec, name: str) -> None:  # type: ignore[misc]
        set_up_logging(spec.node_folder.log_path(name))
        spec = spec.with_token()
        self._host = RouterHost(
            ReleasedCoordizers(releases_here(spec)),
            spec.router,
            token=spec.token,
            administrator=RegistryLink(spec),
            name=name,
            tls=spec.client_tls,
        )
        table = last_table(spec.run_folder.table_path, spec.id)
        if table is not None:
            # A router that restarts answers at once, from the last table, also without a registry.
            await self._host.update(Snapshot(table=table, health={}, registry_pid=0))
        address = _ray.node_address(spec)
        self._doors = Doors(self._host, spec, name, address)
        endpoint = await self._doors.open()
        metrics_endpoint, _ = serve_metrics(
            self._host.metrics.registry, address, context=spec.metrics_context()
        )
        self._announcement = Announcement(
            member=name,
            endpoint=endpoint,
            metrics_endpoint=metrics_endpoint,
            pid=os.getpid(),
            node=_ray.node_name(),
            deployment=spec.id,
        )
        told = _ray.announce(spec, self._announcement)
        logger.info("router serves", extra={"endpoint": endpoint, "registry_told": told})

    async def where(self) -> Announcement:
        """Return where this router listens, and the table that it holds now."""
        version, release = self._host.table_held
        return replace(self._announcement, table_version=version, table_release=release)

    async def prepare(self, table: Table) -> None:
        """Read the coordizer of a table that is to come, so that `update` need not wait for it.

        Raises:
            ArtifactError: The coordizer is missing or damaged.
        """
        await self._host.prepare(table)

    async def update(self, snapshot: Snapshot) -> Held:
        """Route by a new table from the registry; return what the router holds now."""
        return await self._host.update(snapshot)

    async def update_health(self, change: HealthChange) -> Held:
        """Note what changed in the health of members; return what the router holds now."""
        return self._host.update_health(change)

    async def drain(self, grace_s: float) -> None:
        """Refuse new calls and finish the running ones."""
        await self._doors.close(grace_s=grace_s)


RouterActor = _ray.ActorClass[RouterCalls](RouterProcess)
