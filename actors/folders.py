"""Two folders of a constellation: what is true of all of it, and what belongs to one node.

On one machine both are the run folder. On several, the registry's node holds the run folder, and
every node a folder of its own: no process expects to see the node folder of another machine.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Files of the whole constellation, written by the registry and read by restarted processes."""

    path: Path

    @property
    def table_path(self) -> Path:
        """The newest table, endpoints included."""
        return self.path / "table.msgpack"

    @property
    def placement_path(self) -> Path:
        """Which process serves which kernels, and of which release."""
        return self.path / "placement.json"

    @property
    def members_path(self) -> Path:
        """Which members were up when the registry published the table last."""
        return self.path / "members.json"


@dataclass(frozen=True, slots=True)
class NodeFolder:
    """Files of the processes on one machine, which no other machine reads."""

    path: Path

    @property
    def weights_dir(self) -> Path:
        """Weights that processes map, under their hashes."""
        return self.path / "weights"

    @property
    def store_dir(self) -> Path:
        """Parts of releases that the node keeps because it does not see the artifacts."""
        return self.path / "store"

    def log_path(self, member: str) -> Path:
        """Return the log file of an actor."""
        return self.path / "logs" / f"{member}.jsonl"
