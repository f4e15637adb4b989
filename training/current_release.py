"""What is served from a run's folder: the current release, read by those who report on a run."""

from pathlib import Path

from constellation.coordizer.coordizer import Coordizer
from constellation.records import Table
from constellation.releases.store import ReleaseStore


def served_table(folder: Path) -> Table | None:
    """Return the table of the current release; None when there is no release yet.

    Raises:
        ArtifactError: The release is damaged.
    """
    store = ReleaseStore(folder)
    return None if store.current() is None else store.table(store.read_current())


def served_coordizer(folder: Path) -> Coordizer:
    """Return the coordizer of the current release; before the first, that of the training.

    Raises:
        ArtifactError: It is damaged, or there is none.
    """
    store = ReleaseStore(folder)
    home = folder if store.current() is None else store.current_folder()
    return Coordizer.load(home / "coordizer")
