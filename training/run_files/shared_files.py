"""What workers need of the folder of a run, and the case that all workers see this folder."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from constellation.atomic_files import write_whole

Append = Callable[[bytes], object]
"""Function that adds bytes to the end of a file."""


class RunFiles(Protocol):
    """What workers need of the run's folder; all paths are absolute and lie in it."""

    def exists(self, path: Path) -> bool:
        """Return whether the run's folder holds a file now."""
        ...

    def read(self, path: Path) -> bytes:
        """Return the content of a small file of the run's folder, as it is now.

        Raises:
            FileNotFoundError: There is no such file.
        """
        ...

    def write(self, path: Path, content: bytes) -> None:
        """Write a small file of the run's folder, whole or not at all."""
        ...

    def appending(self, path: Path) -> AbstractContextManager[Append]:
        """Return a function that adds bytes to the end of a file, which is made when missing."""
        ...

    def pull(self, path: Path) -> None:
        """Make a file or folder here equal to the one in the run's folder."""
        ...

    def push(self, path: Path) -> None:
        """Make a file or folder in the run's folder equal to the one here."""
        ...


class SharedFiles:
    """Workers see the run's folder itself; nothing is copied."""

    def exists(self, path: Path) -> bool:
        """Return whether a file exists."""
        return path.exists()

    def read(self, path: Path) -> bytes:
        """Return the content of a file."""
        return path.read_bytes()

    def write(self, path: Path, content: bytes) -> None:
        """Write a file, whole or not at all."""
        write_whole(path, content)

    @contextmanager
    def appending(self, path: Path) -> Iterator[Append]:
        """Yield a function that adds bytes to the end of a file."""
        with path.open("ab", buffering=0) as file:
            yield file.write

    def pull(self, path: Path) -> None:
        """Do nothing: the file is the run's own."""

    def push(self, path: Path) -> None:
        """Do nothing: the file is the run's own."""


SHARED: Final = SharedFiles()
"""The files of a run whose workers all see its folder."""
