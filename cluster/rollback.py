"""Make an earlier release current: live if its constellation runs, else in the artifacts only."""

from dataclasses import dataclass
from pathlib import Path

from actors.folders import RunFolder
from actors.run_folder import last_table
from cluster import state_file
from constellation.client import Client
from constellation.errors import ArtifactError, ConstellationError, DeploymentError
from constellation.releases.store import ReleaseStore
from constellation.wire.run_lock import owned
from training.file_errors import typed_writes


@dataclass(frozen=True, kw_only=True, slots=True)
class RolledBack:
    """The releases before and after a rollback."""

    before: int | None
    """Release that was current; None when no release was, or the record of it is damaged."""
    after: int
    """Release that is current after the rollback."""


def roll_back(artifacts: Path, version: int | None, client: Client | None) -> RolledBack:
    """Make an earlier release the current one; its files are verified first.

    Args:
        artifacts: Folder that holds the releases.
        version: The release to go back to; None takes the parent of the current release.
        client: Client of the constellation that runs from the artifacts; None when none does.

    Raises:
        DeploymentError: The current release is the first one, or another process writes to the
            artifacts.
        ReloadRefused: The constellation that runs cannot serve that release; it is unchanged.
        ArtifactError: There is no such release, or a file of it is missing or damaged.
    """
    store = ReleaseStore(artifacts)
    if client is not None:
        before = _current(store)
        return RolledBack(before=before, after=client.roll_back(version).release)
    if not store.versions():
        raise ArtifactError(artifacts, "holds no release to go back to")
    _target(store, version)  # what can be refused is refused before anything is written
    with typed_writes(artifacts), owned(artifacts, "`releases rollback`", DeploymentError):
        before, target = _current(store), _target(store, version)
        store.verify(target)
        store.folder(target)
        store.switch(target)
    return RolledBack(before=before, after=target)


def in_use(run_dir: Path, artifacts: Path) -> tuple[int, ...]:
    """Return the releases of an artifacts folder that the constellation of a run folder serves.

    Training may have made another release current that is not reloaded yet.
    """
    found = state_file.running(run_dir)
    if found is None or Path(found.artifacts).resolve() != artifacts.resolve():
        return ()
    served = last_table(RunFolder(run_dir).table_path)
    return () if served is None or not served.release else (served.release,)


def _target(store: ReleaseStore, version: int | None) -> int:
    return store.read(_previous(store) if version is None else version).version


def _previous(store: ReleaseStore) -> int:
    current = store.current()
    if current is None:
        raise DeploymentError(
            f"no release of {store.artifacts} is current; name the one to go back to, of "
            f"{_listed(store)}"
        )
    previous = store.previous(current)
    if previous is None:
        raise DeploymentError(
            f"release {current} was made from no other; name the one to go back to, of "
            f"{_listed(store)}"
        )
    return previous


def _current(store: ReleaseStore) -> int | None:
    try:
        return store.current()
    except ConstellationError:  # a damaged pointer is what a rollback to a version mends
        return None


def _listed(store: ReleaseStore) -> str:
    return ", ".join(map(str, store.versions()))
