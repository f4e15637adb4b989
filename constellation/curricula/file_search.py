"""Find all files under the folders of a corpus, each folder once, without reading any file.

Skipped entries (hidden names, links to nothing, devices) are listed with their reason, so that a
caller can report them.
"""

import os
import stat
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from constellation.curricula.documents import Skipped
from constellation.errors import CorpusError


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFile:
    """A regular file, or a link to a regular file."""

    path: Path
    name: str
    """Path below the given folder, in UTF-8 (`readable`)."""
    is_renamed: bool
    """Whether the path is not UTF-8, so that `name` differs from the path."""
    domain: str
    """First sub-folder of the path, or the file's name without suffixes."""
    size_bytes: int
    changed_ns: int
    """Time of the last change of the content, nanoseconds since 1970."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFiles:
    """All files sorted by name, root by root, and the entries that were skipped."""

    files: tuple[FoundFile, ...]
    passed_over: tuple[Skipped, ...]
    """Devices, and links and folders that cannot be read; each with its reason."""
    hidden: tuple[str, ...]
    """Files and folders whose name begins with a dot."""


def find_files(roots: Iterable[Path]) -> FoundFiles:
    """Find the files under folders; a root that is a file is found itself.

    A link to a folder is followed once: a folder that was already read under another name is
    skipped, so links may form loops. Real folders are read before links to them.

    Raises:
        CorpusError: A root is missing, or neither a file nor a folder.
    """
    files: list[FoundFile] = []
    passed_over: list[Skipped] = []
    hidden: list[str] = []
    for root in roots:
        if root.is_file():
            files.append(_found(root, (root.name,), root.stat()))
        elif root.is_dir():
            walk = _Walk(root)
            walk.run()
            files += sorted(walk.files, key=lambda file: PurePosixPath(file.name).parts)
            passed_over += walk.passed_over
            hidden += walk.hidden
        else:
            raise CorpusError(readable(os.fspath(root)), "no such file or folder")
    return FoundFiles(files=tuple(files), passed_over=tuple(passed_over), hidden=tuple(hidden))


def readable(name: str) -> str:
    r"""Return a name as UTF-8, with `\xe9` for a byte that is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@dataclass(slots=True)
class _Walk:
    """One walk through a folder and its sub-folders, breadth first, links last."""

    root: Path
    files: list[FoundFile] = field(default_factory=list)
    passed_over: list[Skipped] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    _seen: dict[tuple[int, int], str] = field(default_factory=dict)
    """(device, inode) of a folder -> name under which it was read."""
    _folders: deque[tuple[str, ...]] = field(default_factory=deque)
    _links: deque[tuple[str, ...]] = field(default_factory=deque)

    def run(self) -> None:
        """Walk until no folder and no link to a folder is left."""
        self._folders.append(())
        while self._folders or self._links:
            parts = self._folders.popleft() if self._folders else self._links.popleft()
            try:
                self._enter(parts)
            except OSError as error:
                self._skip(parts, f"cannot be opened: {error.strerror}")

    def _enter(self, parts: tuple[str, ...]) -> None:
        folder = self.root.joinpath(*parts)
        status = folder.stat()
        name = _name(parts)
        first = self._seen.setdefault((status.st_dev, status.st_ino), name)
        if first != name:
            self._skip(parts, f"the same folder as {first or 'the root'}, which is read once")
            return
        for entry in sorted(os.listdir(folder)):
            if entry.startswith("."):
                self.hidden.append(_name((*parts, entry)))
            else:
                self._classify((*parts, entry))

    def _classify(self, parts: tuple[str, ...]) -> None:
        path = self.root.joinpath(*parts)
        try:
            status = path.stat()
        except OSError as error:
            kind = "a link that leads nowhere" if path.is_symlink() else "cannot be opened"
            self._skip(parts, f"{kind}: {error.strerror}")
            return
        if stat.S_ISDIR(status.st_mode):
            (self._links if path.is_symlink() else self._folders).append(parts)
        elif stat.S_ISREG(status.st_mode):
            self.files.append(_found(path, parts, status))
        else:
            self._skip(parts, "no file: a device, a pipe or a socket")

    def _skip(self, parts: Sequence[str], reason: str) -> None:
        self.passed_over.append(Skipped(source=_name(parts), reason=reason))


def _found(path: Path, parts: Sequence[str], status: os.stat_result) -> FoundFile:
    stem = PurePosixPath(readable(parts[-1]).removesuffix(".gz")).stem
    return FoundFile(
        path=path,
        name=_name(parts),
        is_renamed=_name(parts) != "/".join(parts),
        domain=readable(parts[0]) if len(parts) > 1 else stem,
        size_bytes=status.st_size,
        changed_ns=status.st_mtime_ns,
    )


def _name(parts: Sequence[str]) -> str:
    return readable("/".join(parts))
