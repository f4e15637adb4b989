"""Find the files of a corpus: all that lies under the given folders, each folder once.

Reads no file. What is passed over (hidden names, links that lead nowhere, devices) is named, so
that a caller can say so.
"""

import os
import stat
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from constellation.errors import CorpusError


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFile:
    """A regular file, or a link to one."""

    path: Path
    name: str
    """Its path below the given folder, in UTF-8 (`readable`)."""
    is_renamed: bool
    """Whether its path is not UTF-8, so that `name` writes it in another way."""
    domain: str
    """The first sub-folder that the file lies in, or the file's name without suffixes."""
    size_bytes: int
    changed_ns: int
    """When its content was last changed, nanoseconds since 1970."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PassedOver:
    """What is no file to read, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFiles:
    """All files in the sorted order of their names, root by root, and what was passed over."""

    files: tuple[FoundFile, ...]
    passed_over: tuple[PassedOver, ...]
    """Links and folders that cannot be read, devices; each with its reason."""
    hidden: tuple[str, ...]
    """Files and folders whose name begins with a dot."""


def find_files(roots: Iterable[Path]) -> FoundFiles:
    """Find what lies under folders; a root that is a file is found as it is.

    A link to a folder is followed once: a folder that another name has led to already is passed
    over, so links may form loops. Folders of their own go before links to them.

    Raises:
        CorpusError: A root is missing, or neither a file nor a folder.
    """
    files: list[FoundFile] = []
    passed_over: list[PassedOver] = []
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
    r"""Return a name that can be written as UTF-8, with `\xe9` for a byte that is not."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@dataclass(slots=True)
class _Walk:
    """One walk through a folder and all folders below, breadth first, links last."""

    root: Path
    files: list[FoundFile] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    _seen: dict[tuple[int, int], str] = field(default_factory=dict)
    """Device and number of a folder -> the name by which it was read."""
    _folders: deque[tuple[str, ...]] = field(default_factory=deque)
    _links: deque[tuple[str, ...]] = field(default_factory=deque)

    def run(self) -> None:
        """Walk until no folder and no link to one is left."""
        self._folders.append(())
        while self._folders or self._links:
            parts = self._folders.popleft() if self._folders else self._links.popleft()
            try:
                self._enter(parts)
            except OSError as error:
                self._pass_over(parts, f"cannot be opened: {error.strerror}")

    def _enter(self, parts: tuple[str, ...]) -> None:
        folder = self.root.joinpath(*parts)
        status = folder.stat()
        name = _name(parts)
        first = self._seen.setdefault((status.st_dev, status.st_ino), name)
        if first != name:
            self._pass_over(parts, f"the same folder as {first or 'the whole'}, which is read once")
            return
        for entry in sorted(os.listdir(folder)):
            if entry.startswith("."):
                self.hidden.append(_name((*parts, entry)))
            else:
                self._look_at((*parts, entry))

    def _look_at(self, parts: tuple[str, ...]) -> None:
        path = self.root.joinpath(*parts)
        try:
            status = path.stat()
        except OSError as error:
            kind = "a link that leads nowhere" if path.is_symlink() else "cannot be opened"
            self._pass_over(parts, f"{kind}: {error.strerror}")
            return
        if stat.S_ISDIR(status.st_mode):
            (self._links if path.is_symlink() else self._folders).append(parts)
        elif stat.S_ISREG(status.st_mode):
            self.files.append(_found(path, parts, status))
        else:
            self._pass_over(parts, "no file: a device, a pipe or a socket")

    def _pass_over(self, parts: Sequence[str], reason: str) -> None:
        self.passed_over.append(PassedOver(name=_name(parts), reason=reason))


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
