"""The first table of a registry: that of the served release, with a version above all before."""

import logging
from dataclasses import replace

from actors.registry.release_access import current_release, served_release
from actors.run_folder import last_table
from actors.spec import DeploymentSpec
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


def first_table(spec: DeploymentSpec, *, restarts: bool) -> Table:
    """Return the first table of a registry, with a higher version than the last table.

    Args:
        spec: Of the deployment.
        restarts: Whether processes serve that an earlier registry has started. Then the table is
            that of the release they serve, or, when the artifacts cannot be read, the last table in
            the run folder.

    Raises:
        ArtifactError: There is no release, or a file of it is damaged.
    """
    last = last_table(spec.run_folder.table_path, spec.id)
    try:
        table = table_of(spec, served_release(spec) if restarts else current_release(spec))
    except ArtifactError as error:
        if not restarts or last is None:
            raise
        logger.error("artifacts are not read", extra={"reason": str(error)})
        table = last
    version = table.version if last is None else max(table.version, last.version)
    sites = tuple(replace(site, endpoint=None, more_endpoints=()) for site in table.sites)
    return replace(table, version=version + 1, sites=sites)
