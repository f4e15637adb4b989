"""The coordizers of releases, for those who route: coordinates change whenever a kernel joins."""

from pathlib import Path

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ArtifactError
from constellation.records import Table
from constellation.releases.manifest import COORDIZER
from constellation.releases.store import ReleaseStore


class ReleasedCoordizers:
    """Reads coordizers of the releases of an artifacts folder.

    Args:
        artifacts: The folder.
    """

    def __init__(self, artifacts: Path) -> None:
        self._store = ReleaseStore(artifacts)

    def current(self) -> Coordizer:
        """Return the coordizer of the current release.

        Raises:
            ArtifactError: There is no release, or a file is damaged.
        """
        release = self._store.read_current()
        return self.of_table(self._store.table(release))

    def of_table(self, table: Table) -> Coordizer:
        """Return the coordizer whose basins a table holds.

        Raises:
            ArtifactError: The table is of no release, or the coordizer is missing, damaged or
                another than the table's.
        """
        if not table.release:
            raise ArtifactError("table", "names no release whose coordizer it was made with")
        folder = self._store.part(table.release, COORDIZER) / COORDIZER
        coordizer = Coordizer.load(folder)
        if coordizer.hash != table.coordizer_hash:
            raise ArtifactError(folder, "is another coordizer than the table's; roll back")
        return coordizer
