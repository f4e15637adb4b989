"""A coordizer that stays the same, whatever release a table is of."""

from dataclasses import dataclass
from typing import Any

from constellation.errors import ArtifactError
from constellation.records import Table


@dataclass(frozen=True, slots=True)
class Fixed:
    """Gives one coordizer for every table that was made with it."""

    coordizer: Any

    def of_table(self, table: Table) -> Any:
        """Return the coordizer, or refuse a table of another one as a router's own source does."""
        if table.coordizer_hash != self.coordizer.hash:
            raise ArtifactError("coordizer", "is another one than the table's")
        return self.coordizer
