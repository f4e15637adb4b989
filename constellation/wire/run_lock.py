"""Lock of a run's folder: one process at a time may write, and the lock file names the process.

The lock is a `flock` of a file in the folder, so the system releases it when the last process that
holds it ends in any way. The file's content is for people.
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
"""File descriptors of the locks that this process holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """The process that holds the lock of a folder."""

    doing: str
    """Purpose of the process, such as "a training"."""
    pid: int
    started: float
    """Start time of the process, seconds since the epoch; tells apart processes that reuse an
    id."""
    host: str
    """Name of the process's machine."""

    def __str__(self) -> str:
        ended = "" if self.alive() else ", which has ended; processes that it started still write"
        return f"{self.doing} runs in this folder, process {self.pid} on {self.host}{ended}"

    def alive(self) -> bool:
        """Return whether the process runs; True for a process on another machine (unknown)."""
        if self.host != socket.gethostname():
            return True
        try:
            return abs(float(psutil.Process(self.pid).create_time()) - self.started) < 1
        except psutil.NoSuchProcess:
            return False


@contextmanager
def owned(folder: Path, doing: str, refusal: type[ConstellationError]) -> Iterator[None]:
    """Hold the exclusive right to write to a folder.

    Args:
        folder: Existing folder of the run.
        doing: Purpose of this process, for messages of other processes: "a training".
        refusal: Error class to raise, with the owner's process id, when another process holds
            the lock.

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
            os.ftruncate(descriptor, 0)  # after a normal end the file names no process
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def owner_of(folder: Path) -> Owner | None:
    """Return the process that holds the lock of a folder; None when the lock is free."""
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
    """Return the descriptors that a child process must inherit to hold the same locks."""
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
    """Return the owner in the lock file; None while it is being written."""
    try:
        return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return None
