"""Who works in a store: any number that add to it, or one alone that removes.

The lock is a `flock` of a file, as that of a run's folder, so the system gives it back when its
holder has ended, however it ended. Whoever gets it alone knows that nobody else is at work: what
lies half written then is of a process that was killed.
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
def shared(folder: Path, clean: Callable[[], None]) -> Iterator[None]:
    """Hold the right to add to a store, beside others.

    Waits for one who removes, who does nothing long.

    Args:
        folder: Of the lock's file; made if it is missing.
        clean: Removes leftovers; called when nobody else is at work.

    Raises:
        OSError: The folder cannot be written to.
    """
    with _descriptor(folder) as descriptor:
        if _try_alone(descriptor):
            clean()
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the right to remove from a store.

    Args:
        folder: As for `shared`.

    Raises:
        ArtifactError: Others are at work.
        OSError: The folder cannot be written to.
    """
    with _descriptor(folder) as descriptor:
        if not _try_alone(descriptor):
            raise ArtifactError(
                folder,
                "another process adds to this store now, and what it has put there could be taken "
                "for what nobody needs; run this again when that process has ended",
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


def _try_alone(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
