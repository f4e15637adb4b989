"""The table that a registry begins with: that of a release, with a version after all before it."""

from dataclasses import replace

from actors.run_folder import last_table
from actors.spec import DeploymentSpec
from constellation.records import Table
from constellation.releases.manifest import Release
from constellation.releases.store import ReleaseStore


def table_of(spec: DeploymentSpec, release: Release) -> Table:
    """Return the table of a release, without endpoints.

    Raises:
        ArtifactError: It is damaged.
    """
    return ReleaseStore(spec.artifacts).table(release)


def first_table(spec: DeploymentSpec, release: Release) -> Table:
    """Return the table that a registry begins with; versions only ever rise.

    Raises:
        ArtifactError: The table of the release is damaged.
    """
    table, last = table_of(spec, release), last_table(spec.table_path)
    version = table.version if last is None else max(table.version, last.version)
    return replace(table, version=version + 1)
