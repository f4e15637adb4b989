"""Load the coordizer of a release: of the current release, or of the release of a table.

Routers need it because token coordinates change whenever a kernel joins.
"""

from pathlib import Path

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ArtifactError
from constellation.records import Table
from constellation.releases.manifest import COORDIZER
from constellation.releases.store import ReleaseStore


class ReleasedCoordizers:
    """Loads the coordizers of releases.

    Args:
        releases: The artifacts folder, or whatever else the releases are read from.
    """

    def __init__(self, releases: Path | ReleaseStore) -> None:
        self._store = ReleaseStore(releases) if isinstance(releases, Path) else releases

    def current(self) -> Coordizer:
        """Return the coordizer of the current release.

        Raises:
            ArtifactError: There is no release, or a file is damaged.
        """
        release = self._store.read_current()
        return self.of_table(self._store.table(release))

    def of_table(self, table: Table) -> Coordizer:
        """Return the coordizer under which the basins of a table were computed.

        Raises:
            ArtifactError: The table belongs to no release, or the coordizer is missing, damaged or
                not the table's.
        """
        if not table.release:
            raise ArtifactError("table", "belongs to no release, so its coordizer is unknown")
        folder = self._store.part(table.release, COORDIZER) / COORDIZER
        coordizer = Coordizer.load(folder)
        if coordizer.hash != table.coordizer_hash:
            raise ArtifactError(
                folder, "is not the coordizer of the table; roll back to another release"
            )
        self._store.let_go(but=table.release)
        return coordizer
