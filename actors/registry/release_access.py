"""Access of the registry to releases in the artifacts; failures are raised as refusals.

    current   the release that a registry which starts switches its processes to, by the store
    served    the release that processes of kernels serve, by the placement in the run folder

The two differ between the moment when a switch makes a release current and the moment when all
processes have taken the release, and after another program, such as a training, has made another
release current.
"""

from actors.placement_file import read_placement
from actors.spec import DeploymentSpec
from constellation.errors import ArtifactError, ReloadRefused
from constellation.records import RollBack, Table
from constellation.releases.manifest import Release
from constellation.releases.store import ReleaseStore
from constellation.releases.switch_plan import Steps, steps_between
from constellation.wire.run_lock import owner_of


def current_release(spec: DeploymentSpec) -> Release:
    """Return the release that the artifacts name as the current one.

    Raises:
        ArtifactError: There is no such release, or its manifest is damaged.
    """
    return ReleaseStore(spec.artifacts).read_current()


def current_number(spec: DeploymentSpec) -> int | None:
    """Return the number of the current release; None when the store cannot be read."""
    try:
        return ReleaseStore(spec.artifacts).current()
    except ArtifactError:
        return None


def served_release(spec: DeploymentSpec, by_routers: int | None = None) -> Release:
    """Return the release that processes serve which an earlier registry has started.

    The current release is returned where neither routers nor the run folder name a release that can
    be read.

    Args:
        spec: Of the deployment.
        by_routers: The release of the routers' table, where the run folder is out of date.

    Raises:
        ArtifactError: As `current_release`.
    """
    store = ReleaseStore(spec.artifacts)
    served = by_routers or read_placement(spec).release
    if served is not None:
        try:
            return store.read(served)
        except ArtifactError:  # pruned or damaged: no process can load it any more
            pass
    return store.read_current()


def steps_to(spec: DeploymentSpec, served: Table, release: Release) -> Steps:
    """Return which kernels join, leave and reload to serve a release.

    When the served release cannot be read any more, every kernel that stays is reloaded.

    Args:
        spec: Of the deployment.
        served: The table of the release that is served.
        release: The release that is to be served.
    """
    try:
        return steps_between(written_release(spec, served.release), release)
    except ArtifactError:
        before = {site.name for site in served.sites}
        after = {kernel.name for kernel in release.kernels}
        return Steps(
            joined=tuple(sorted(after - before)),
            left=tuple(sorted(before - after)),
            reloaded=tuple(sorted(before & after)),
        )


def written_release(spec: DeploymentSpec, version: int) -> Release:
    """Return a release by its number.

    Raises:
        ArtifactError: There is no such release, or its manifest is damaged.
    """
    return ReleaseStore(spec.artifacts).read(version)


def earlier_release(spec: DeploymentSpec, served: int, change: RollBack) -> Release:
    """Return the release to roll back to.

    Args:
        spec: Of the deployment.
        served: Number of the release that is served.
        change: Names the release; without a name, the parent of the served release is meant.

    Raises:
        ReloadRefused: There is no such release.
    """
    store = ReleaseStore(spec.artifacts)
    try:
        version = store.previous(served) if change.release is None else change.release
        if version is None:
            raise ReloadRefused(f"release {served} is the first: there is none before it")
        return store.read(version)
    except ArtifactError as error:
        raise ReloadRefused(str(error)) from error


def check_written(spec: DeploymentSpec) -> None:
    """Refuse to load while another process writes to the artifacts.

    Raises:
        ReloadRefused: Another process writes; the message names the process.
    """
    if owner := owner_of(spec.artifacts):
        raise ReloadRefused(
            f"{spec.artifacts} is being written: {owner}; what it makes is complete when it has "
            "ended"
        )


def check_served(spec: DeploymentSpec, served: int) -> None:
    """Refuse a change unless the served release is the current one, which changes start from.

    Raises:
        ArtifactError: As `current_release`.
        ReloadRefused: Another release is current.
    """
    current = current_release(spec).version
    if current != served:
        raise ReloadRefused(
            f"release {current} was written since and is not served yet, release {served} is; "
            "first serve it: constellation reload"
        )


def fetch(spec: DeploymentSpec, release: Release) -> None:
    """Complete the folder of a release, from which all processes read; verify every file.

    Raises:
        ReloadRefused: A file is missing or damaged, or the disk is full.
    """
    try:
        ReleaseStore(spec.artifacts).folder(release.version)
    except ArtifactError as error:
        raise ReloadRefused(str(error)) from error
    except OSError as error:
        raise _unwritten(spec, error) from error


def make_current(spec: DeploymentSpec, release: Release) -> None:
    """Make a release the current one: processes that start from now on serve it.

    Raises:
        ReloadRefused: A file is missing, or the store cannot be written to; nothing has changed.
    """
    try:
        ReleaseStore(spec.artifacts).switch(release.version)
    except ArtifactError as error:
        raise ReloadRefused(str(error)) from error
    except OSError as error:
        raise _unwritten(spec, error) from error


def _unwritten(spec: DeploymentSpec, error: OSError) -> ReloadRefused:
    return ReloadRefused(
        f"{error.filename or spec.artifacts} cannot be written: {error.strerror or error}; what is "
        "served goes on; make room or mend it, and try again"
    )
