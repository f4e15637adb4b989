"""Read how loaded this node is, and how far the training in an artifacts folder is.

The registry shows the readings in its status, the launcher in the node's metrics. Reading blocks as
long as the disks do.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from constellation.machine_limits import usable_memory
from constellation.records import TrainingStatus
from constellation.telemetry.training_status import STATUS_FILE, read_training, stopped
from constellation.wire.run_lock import owner_of


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeReadings:
    """Load, memory and disk of this node at one moment."""

    load_ratio: float
    """Load average of one minute over the number of cores; above 1 processes wait for a core."""
    memory_bytes: int
    """Main memory that processes of this node may use, limits of its container included."""
    memory_free_bytes: int
    """Main memory that programs can still get; high is good."""
    disk_bytes: int
    """Size of the file system of the run folder; 0 when the folder was removed."""
    disk_free_bytes: int
    """Room on that file system; high is good. 0 when the folder was removed."""


def read_node(run_dir: Path) -> NodeReadings:
    """Return the load, the memory, and the disk of the run folder."""
    memory = usable_memory()
    try:
        disk = psutil.disk_usage(str(run_dir))
        total, free = disk.total, disk.free
    except OSError:  # the run folder was removed
        total = free = 0
    return NodeReadings(
        # The system knows no load of a container: all processes over all cores of the machine.
        load_ratio=os.getloadavg()[0] / (os.cpu_count() or 1),
        memory_bytes=memory.total_bytes,
        memory_free_bytes=memory.available_bytes,
        disk_bytes=total,
        disk_free_bytes=free,
    )


def read_live_training(artifacts: Path) -> TrainingStatus | None:
    """Return how far the training of an artifacts folder is; None when there was none.

    A training that was killed still says RUNNING in its file; here the training is stopped, since
    no process holds the folder any more.

    Raises:
        ArtifactError: As `read_training`.
    """
    found = read_training(artifacts / STATUS_FILE)
    if found is not None and found.state == "RUNNING" and owner_of(artifacts) is None:
        return stopped(found)
    return found
