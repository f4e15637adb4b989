"""Serve the folder of a training run to workers on other machines; knows nothing of Ray.

The driver has one server, and every worker on a node with a disk of its own calls it. Names are
relative to the folder and may not leave it. A file appears whole or not at all; a worker that dies
in the middle of a file leaves a hidden part, which the next server of the folder removes.
"""

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final, Protocol

from constellation.atomic_files import replaced_whole
from constellation.errors import TrainingError

CHUNK_BYTES: Final = 4 * 1024 * 1024
"""Bytes of a file that one call carries at most."""
_PARTS: Final = ".upload-*"


@dataclass(frozen=True, slots=True)
class FileState:
    """Size and time of change of a file: files that agree in both are the same."""

    num_bytes: int
    changed_ns: int
    """Nanoseconds since the epoch, by the clock of the machine that wrote the file first."""

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """Return the state of a file on disk."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns)

    @classmethod
    def now(cls, content: bytes) -> "FileState":
        """Return the state of a file that is written at this moment."""
        return cls(len(content), time.time_ns())


class FolderCalls(Protocol):
    """What the server of a run's folder answers to workers."""

    def states(self, name: str) -> Mapping[str, FileState]:
        """Return the states of a file, or of all files below a folder; empty when none exists."""
        ...

    def read(self, name: str, offset: int) -> bytes:
        """Return at most `CHUNK_BYTES` bytes of a file; fewer only at its end.

        Raises:
            FileNotFoundError: There is no such file.
        """
        ...

    def write(self, name: str, content: bytes, state: FileState) -> None:
        """Write a file whole, and set its time of change.

        Raises:
            OSError: The disk is full or read-only; the file is what it was.
        """
        ...

    def append(self, name: str, content: bytes) -> None:
        """Add bytes to the end of a file, which is made when missing."""
        ...

    def begin(self, name: str) -> str:
        """Return the name of a new hidden file that becomes `name` when it is finished."""
        ...

    def finish(self, part: str, name: str, state: FileState) -> None:
        """Replace a file by a hidden one of `begin` that has the size of `state`.

        Raises:
            TrainingError: The hidden file has another size: a part of it was lost.
        """
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; one that is gone already is passed over."""
        ...


class FolderServer:
    """Reads and writes below one folder for workers that do not see it."""

    def __init__(self, root: Path) -> None:
        """Serve `root`, and remove what workers of an earlier server left unfinished."""
        self._root = root.resolve()
        self._num_parts = 0
        for part in self._root.rglob(_PARTS):
            part.unlink(missing_ok=True)

    def states(self, name: str) -> Mapping[str, FileState]:
        """Return the states of a file, or of all files below a folder; empty when none exists."""
        self._path(name)
        return states_below(self._root, name)

    def read(self, name: str, offset: int) -> bytes:
        """Return at most `CHUNK_BYTES` bytes of a file; fewer only at its end."""
        with self._path(name).open("rb") as file:
            file.seek(offset)
            return file.read(CHUNK_BYTES)

    def write(self, name: str, content: bytes, state: FileState) -> None:
        """Write a file whole, and set its time of change."""
        with replaced_whole(self._path(name)) as file:
            file.write(content)
            set_time(file, state)

    def append(self, name: str, content: bytes) -> None:
        """Add bytes to the end of a file, which is made when missing."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(content)

    def begin(self, name: str) -> str:
        """Return the name of a new hidden file that becomes `name` when it is finished."""
        self._path(name)
        self._num_parts += 1
        target = PurePosixPath(name)
        return str(target.with_name(_PARTS.replace("*", f"{self._num_parts}-{target.name}")))

    def finish(self, part: str, name: str, state: FileState) -> None:
        """Replace a file by a hidden one of `begin` that has the size of `state`."""
        made, target = self._path(part), self._path(name)
        with made.open("rb") as file:
            num_bytes = os.fstat(file.fileno()).st_size
            if num_bytes != state.num_bytes:
                made.unlink()
                raise TrainingError(
                    f"{name} arrived with {num_bytes} of {state.num_bytes} bytes; run the same "
                    "command again to resume from the last checkpoints"
                )
            set_time(file, state)
            os.fsync(file.fileno())
        made.replace(target)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; one that is gone already is passed over."""
        for name in names:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts:
            raise TrainingError(f"{name!r} does not name a file of the run in {self._root}")
        return self._root.joinpath(*parts)


def states_below(root: Path, name: str) -> dict[str, FileState]:
    """Return the states of a file, or of all files below a folder: name -> state.

    Names are relative to `root`. Hidden files, which writers have not finished, are left out.
    """
    start = root / name
    states = {}
    for path in [start] if start.is_file() else sorted(start.rglob("*")):
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            states[path.relative_to(root).as_posix()] = FileState.of(path)
        except FileNotFoundError:  # removed meanwhile
            continue
    return states


def set_time(file: IO[bytes], state: FileState) -> None:
    """Write out what an open file still buffers, and set the file's time of change."""
    file.flush()
    os.utime(file.fileno(), ns=(state.changed_ns, state.changed_ns))
