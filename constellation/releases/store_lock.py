"""Lock of a store of releases: many processes may add at once, but only one may remove.

The lock is a `flock` of a file, like the lock of a run's folder, so the system releases it when its
holder ends in any way. While a process holds the lock exclusively, no other process is at work, so
half-written files are leftovers of killed processes.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from constellation.errors import ArtifactError

LOCK_FILE: Final = ".lock"


@contextmanager
def hold_shared(folder: Path, clean: Callable[[], None]) -> Iterator[None]:
    """Hold the lock for adding to a store, shared with other processes.

    Waits for a process that removes, which takes a short time.

    Args:
        folder: Folder of the lock file; created if it is missing.
        clean: Function that removes leftovers; called when no other process holds the lock.

    Raises:
        OSError: The folder cannot be written to.
    """
    with _descriptor(folder) as descriptor:
        if _try_exclusively(descriptor):
            clean()
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield


@contextmanager
def hold_exclusively(folder: Path) -> Iterator[None]:
    """Hold the lock for removing from a store, exclusively.

    Raises:
        ArtifactError: Another process holds the lock.
        OSError: The folder cannot be written to.
    """
    with _descriptor(folder) as descriptor:
        if not _try_exclusively(descriptor):
            raise ArtifactError(
                folder,
                "another process is adding to this store, and its new files would be removed; "
                "run this again when that process has ended",
            )
        yield


@contextmanager
def _descriptor(folder: Path) -> Iterator[int]:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _try_exclusively(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
