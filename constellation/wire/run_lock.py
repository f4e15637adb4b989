"""Who writes to a run's folder: one process at a time, and who that is.

The lock is a `flock` of a file in the folder, so the system itself gives it back when the last
process that holds it has ended, however it ended. What stands in the file is for people.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

from constellation.errors import ConstellationError

LOCK_FILE: Final = ".lock"

_held: set[int] = set()
"""Descriptors of the locks that this process holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """A process that writes to a folder."""

    doing: str
    """What it does there, as in "a training"."""
    pid: int
    started: float
    """When the process started, seconds since the epoch: process ids are used again."""
    host: str
    """Name of its machine."""

    def __str__(self) -> str:
        ended = "" if self.alive() else ", which has ended; processes that it started still write"
        return f"{self.doing} runs in this folder, process {self.pid} on {self.host}{ended}"

    def alive(self) -> bool:
        """Return whether the process runs; of another machine's nothing is known, so True."""
        if self.host != socket.gethostname():
            return True
        try:
            return abs(float(psutil.Process(self.pid).create_time()) - self.started) < 1
        except psutil.NoSuchProcess:
            return False


@contextmanager
def owned(folder: Path, doing: str, refusal: type[ConstellationError]) -> Iterator[None]:
    """Hold the only right to write to a folder.

    Args:
        folder: Of the run; it is there.
        doing: What is done there, in words for others: "a training".
        refusal: Raised, with the owner's process id, when another process holds the right.

    Raises:
        OSError: The folder cannot be written to.
    """
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            told = _read(descriptor) or "another process writes to this folder"
            raise refusal(f"{folder}: {told}; wait for its end, or stop it") from error
        _write(descriptor, doing)
        _held.add(descriptor)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)  # nobody is named who has ended in good order
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def owner_of(folder: Path) -> Owner | None:
    """Return who writes to a folder now; None when nobody does."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    finally:
        os.close(descriptor)
    return None


def held_descriptors() -> tuple[int, ...]:
    """Return what a child process must inherit to hold the same locks until it has ended too."""
    return tuple(_held)


def _write(descriptor: int, doing: str) -> None:
    pid = os.getpid()
    owner = Owner(
        doing=doing,
        pid=pid,
        started=psutil.Process(pid).create_time(),
        host=socket.gethostname(),
    )
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(owner)).encode() + b"\n", 0)


def _read(descriptor: int) -> Owner | None:
    """Return the owner that the file names; None while it is being written."""
    try:
        return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return None
