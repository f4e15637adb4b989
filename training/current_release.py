"""Read what a run's folder currently serves: the table and coordizer of its current release."""

from pathlib import Path

from constellation.coordizer.coordizer import Coordizer
from constellation.records import Table
from constellation.releases.store import ReleaseStore


def served_table(folder: Path) -> Table | None:
    """Return the table of the current release; None when there is no release.

    Raises:
        ArtifactError: The release is damaged.
    """
    store = ReleaseStore(folder)
    return None if store.current() is None else store.table(store.read_current())


def served_coordizer(folder: Path) -> Coordizer:
    """Return the coordizer of the current release; without a release, that of the training.

    Raises:
        ArtifactError: The coordizer is damaged or missing.
    """
    store = ReleaseStore(folder)
    home = folder if store.current() is None else store.current_folder()
    return Coordizer.load(home / "coordizer")
