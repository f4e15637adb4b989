"""The release and the table that a registry begins with."""

from dataclasses import replace

from actors.run_folder import last_table
from actors.spec import DeploymentSpec
from constellation.errors import ArtifactError, ReloadRefused
from constellation.records import Table
from constellation.releases.manifest import Release
from constellation.releases.store import ReleaseStore
from constellation.wire.run_lock import owner_of


def current_release(spec: DeploymentSpec) -> Release:
    """Return the release that the artifacts name as the current one.

    Raises:
        ArtifactError: There is none, or its manifest is damaged.
    """
    return ReleaseStore(spec.artifacts).read_current()


def table_of(spec: DeploymentSpec, release: Release) -> Table:
    """Return the table of a release, without endpoints.

    Raises:
        ArtifactError: It is damaged.
    """
    return ReleaseStore(spec.artifacts).table(release)


def earlier_release(spec: DeploymentSpec, served: int, wanted: int | None) -> Release:
    """Return the release to roll back to.

    Args:
        spec: Of the deployment.
        served: Number of the release that is served.
        wanted: Number of the release that is asked for; None means the parent of the served one.

    Raises:
        ReloadRefused: There is no such release.
    """
    store = ReleaseStore(spec.artifacts)
    version = store.read(served).parent if wanted is None else wanted
    if version is None:
        raise ReloadRefused(f"release {served} is the first: there is none before it")
    try:
        return store.read(version)
    except ArtifactError as error:
        raise ReloadRefused(str(error)) from error


def check_written(spec: DeploymentSpec) -> None:
    """Refuse to load while another process writes to the artifacts.

    Raises:
        ReloadRefused: Names the process.
    """
    if owner := owner_of(spec.artifacts):
        raise ReloadRefused(
            f"{spec.artifacts} is being written: {owner}; what it makes is complete when it has "
            "ended"
        )


def first_table(spec: DeploymentSpec, release: Release) -> Table:
    """Return the table that a registry begins with; versions only ever rise.

    Raises:
        ArtifactError: The table of the release is damaged.
    """
    table, last = table_of(spec, release), last_table(spec.table_path)
    version = table.version if last is None else max(table.version, last.version)
    return replace(table, version=version + 1)
