"""The first table of a registry: that of the served release, with a version above all before."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

import ray

from actors.actor_calls import RouterCalls
from actors.background_tasks import begin
from actors.registry.heartbeat import ANSWER_S
from actors.registry.release_access import current_release, served_release
from actors.run_folder import last_table
from actors.spec import Announcement, DeploymentSpec
from constellation.errors import ArtifactError
from constellation.records import Table
from constellation.releases.manifest import Release
from constellation.releases.store import ReleaseStore

logger = logging.getLogger(__name__)


def table_of(spec: DeploymentSpec, release: Release) -> Table:
    """Return the table of a release, without endpoints.

    Raises:
        ArtifactError: The table is damaged.
    """
    return ReleaseStore(spec.artifacts).table(release)


@dataclass(frozen=True, slots=True)
class HeldTable:
    """The newest table that a router holds."""

    version: int = 0
    """Version of the table; 0 when no router holds one."""
    release: int = 0
    """Number of the release of the table."""


NO_TABLE = HeldTable()


async def newest_held(routers: Iterable[RouterCalls]) -> HeldTable:
    """Return the newest table that any of the routers holds; routers that are silent hold none.

    The file in the run folder may be older, or be missing: the registry was moved to another node,
    or its disk was lost or full. Routers leave out tables that are older than their own.
    """
    asked = [begin("asking", _announced(router)) for router in routers]
    if not asked:
        return NO_TABLE
    answered, silent = await asyncio.wait(asked, timeout=ANSWER_S)
    for task in silent:
        task.cancel()
    found = [each for task in answered if (each := task.result()) is not None]
    held = [HeldTable(each.table_version, each.table_release) for each in found]
    return max(held, key=lambda each: each.version, default=NO_TABLE)


async def _announced(router: RouterCalls) -> Announcement | None:
    try:
        return await router.where()
    except ray.exceptions.RayActorError:
        return None


def first_table(spec: DeploymentSpec, *, restarts: bool, held: HeldTable = NO_TABLE) -> Table:
    """Return the first table of a registry, with a higher version than the last table.

    Args:
        spec: Of the deployment.
        restarts: Whether processes serve that an earlier registry has started. Then the table is
            that of the release they serve, or, when the artifacts cannot be read, the last table in
            the run folder.
        held: The newest table that a router holds. If that is newer than the last table in the run
            folder, the folder is out of date, and the release is that of the router's table.

    Raises:
        ArtifactError: There is no release, or a file of it is damaged.
    """
    last = last_table(spec.run_folder.table_path, spec.id)
    last_version = 0 if last is None else last.version
    newer = held.release if held.version > last_version else None
    try:
        served = served_release(spec, newer) if restarts else current_release(spec)
        table = table_of(spec, served)
    except ArtifactError as error:
        if not restarts or last is None:
            raise
        logger.error("artifacts are not read", extra={"reason": str(error)})
        table = last
    version = max(table.version, last_version, held.version)
    sites = tuple(replace(site, endpoint=None, more_endpoints=()) for site in table.sites)
    return replace(table, version=version + 1, sites=sites)


async def table_to_begin_with(
    spec: DeploymentSpec, routers: Iterable[RouterCalls], *, restarts: bool
) -> Table:
    """Return the first table of a registry, above the tables of all routers that are there.

    Raises:
        ArtifactError: As `first_table`.
    """
    held = await newest_held(routers)
    return await asyncio.to_thread(lambda: first_table(spec, restarts=restarts, held=held))
