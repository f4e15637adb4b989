"""The tables on disk that a registry begins with."""

import logging
from dataclasses import replace

from actors.run_folder import last_table
from actors.spec import DeploymentSpec
from constellation.errors import ArtifactError
from constellation.records import Table
from constellation.wire.table_file import load_table

logger = logging.getLogger(__name__)


def stored_table(spec: DeploymentSpec) -> Table:
    """Return the table of the artifacts, by which a restart finds the same kernels.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    stored = load_table(spec.stored_table_path)
    return replace(stored, sites=tuple(replace(site, endpoint=None) for site in stored.sites))


def first_table(spec: DeploymentSpec) -> Table:
    """Return the table that a registry begins with; versions only ever rise.

    It is the artifacts'. A registry that restarts while they cannot be read goes on with the table
    that was published last.

    Raises:
        ArtifactError: There is neither.
    """
    last = last_table(spec.table_path)
    try:
        table = stored_table(spec)
    except ArtifactError as error:
        if last is None:
            raise
        logger.error("the last table is used", extra={"reason": str(error)})
        table = replace(last, sites=tuple(replace(site, endpoint=None) for site in last.sites))
    version = table.version if last is None else max(table.version, last.version)
    return replace(table, version=version + 1)
