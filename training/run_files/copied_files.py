"""Copy files between the folder of a run and a node with a disk of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, count
from pathlib import Path

from constellation.atomic_files import replaced_whole
from training.run_files.folder_server import (
    CHUNK_BYTES,
    FileState,
    FolderCalls,
    set_time,
    states_below,
)
from training.run_files.shared_files import Append


class CopiedFiles:
    """A copy of the run's folder on the disk of a worker's node; keeps `RunFiles`.

    Files are compared by size and time of change, and only those that differ are copied. One
    worker at a time writes a file; several workers of a node may copy the same file at once.
    """

    def __init__(self, calls: FolderCalls, root: Path) -> None:
        """Copy to and from the folder behind `calls`.

        Args:
            calls: Of the server of the run's folder.
            root: Folder of the copy on this node; made when missing, for this user only.
        """
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._calls = calls
        self._root = root

    def exists(self, path: Path) -> bool:
        """Return whether the run's folder holds a file now."""
        return self._name(path) in self._calls.states(self._name(path))

    def read(self, path: Path) -> bytes:
        """Return the content of a small file of the run's folder, as it is now.

        Raises:
            FileNotFoundError: There is no such file.
        """
        return b"".join(self._chunks(self._name(path)))

    def write(self, path: Path, content: bytes) -> None:
        """Write a small file of the run's folder, whole or not at all."""
        self._calls.write(self._name(path), content, FileState.now(content))

    @contextmanager
    def appending(self, path: Path) -> Iterator[Append]:
        """Yield a function that adds bytes to the end of a file of the run's folder."""
        yield partial(self._calls.append, self._name(path))

    def pull(self, path: Path) -> None:
        """Make the copy of a file or folder equal to the one in the run's folder.

        A file that another worker removes meanwhile is passed over, as it would be without copies.
        """
        wanted, there = self._calls.states(self._name(path)), self._states(path)
        for name, state in wanted.items():
            if there.get(name) != state:
                self._fetch(name, state)
        for name in there.keys() - wanted.keys():
            (self._root / name).unlink(missing_ok=True)

    def push(self, path: Path) -> None:
        """Make a file or folder in the run's folder equal to the copy.

        Files arrive in the order in which they were written, and old ones are removed last, so that
        a reader in the middle finds what the reader would have found here.
        """
        there, held = self._calls.states(self._name(path)), self._states(path)
        for name, state in sorted(held.items(), key=lambda entry: entry[1].changed_ns):
            if there.get(name) != state:
                self._send(name, state)
        self._calls.remove(sorted(there.keys() - held.keys()))

    def _fetch(self, name: str, state: FileState) -> None:
        with suppress(FileNotFoundError):  # removed there meanwhile
            chunks = self._chunks(name)
            first = next(chunks)
            with replaced_whole(self._root / name, durable=False) as file:
                for chunk in chain([first], chunks):
                    file.write(chunk)
                set_time(file, state)

    def _send(self, name: str, state: FileState) -> None:
        with (self._root / name).open("rb") as file:
            if state.num_bytes <= CHUNK_BYTES:
                self._calls.write(name, file.read(), state)
                return
            part = self._calls.begin(name)
            while chunk := file.read(CHUNK_BYTES):
                self._calls.append(part, chunk)
        self._calls.finish(part, name, state)

    def _chunks(self, name: str) -> Iterator[bytes]:
        for offset in count(0, CHUNK_BYTES):
            yield (chunk := self._calls.read(name, offset))
            if len(chunk) < CHUNK_BYTES:
                return

    def _states(self, path: Path) -> Mapping[str, FileState]:
        return states_below(self._root, self._name(path))

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()
