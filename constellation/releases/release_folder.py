"""The folder of a release, laid out as those who serve read it: hard links to its blobs.

A view holds nothing of its own, so it may be removed and made again at any time. It appears whole:
it is made beside its place, checked, and renamed. One process makes views at a time; the others
wait for it and take what it made.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from constellation.atomic_files import NO_LINKS
from constellation.errors import ArtifactError
from constellation.releases.blobs import Blobs, damaged, sha256_of, size_of
from constellation.releases.manifest import Blob

LOCK_FILE: Final = ".views.lock"
"""Held in the folder of the views by the process that makes one."""


def is_whole(view: Path, files: Mapping[str, Blob], blobs: Blobs) -> bool:
    """Return whether a view has exactly these files.

    A file that is the blob itself is taken as it is, since it was read when the view was made; one
    that was copied is read.
    """
    return _paths(view) == set(files) and holds(view, files, blobs)


def holds(view: Path, files: Mapping[str, Blob], blobs: Blobs) -> bool:
    """Return whether a view has these files, whatever else it has."""
    return all(_is_right(view / path, blob, blobs) for path, blob in files.items())


def make(view: Path, files: Mapping[str, Blob], blobs: Blobs) -> None:
    """Make a view, and read all of its files once; what lies there and is not whole is replaced.

    Args:
        view: Its folder.
        files: Path in the view -> file.
        blobs: Where the files come from.

    Raises:
        ArtifactError: A blob is missing or damaged; nothing has changed.
        OSError: The folder cannot be written to.
    """
    view.parent.mkdir(parents=True, exist_ok=True)
    with _alone(view.parent / LOCK_FILE):
        if not is_whole(view, files, blobs):  # else another process has made it meanwhile
            _make(view, files, blobs)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process in at a time; the system lets the next in when that one ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make(view: Path, files: Mapping[str, Blob], blobs: Blobs) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=f".{view.name}-", dir=view.parent))
    try:
        for path, blob in files.items():
            _place(blobs.path(blob), fresh / path)
            if sha256_of(fresh / path) != blob.sha256:
                raise damaged(blobs.path(blob))
        fresh.chmod(0o755)  # mkdtemp makes it private
        if view.exists():
            remove(view)
        fresh.rename(view)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def remove(view: Path) -> None:
    """Remove a view; to readers it goes at once.

    Raises:
        OSError: The folder cannot be written to.
    """
    aside = Path(tempfile.mkdtemp(prefix=f".{view.name}-", dir=view.parent))
    try:
        with suppress(FileNotFoundError):  # another process has just removed it
            view.rename(aside)  # an empty folder may be renamed onto
    finally:
        shutil.rmtree(aside)


def _place(blob: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(blob, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copy(blob, path)  # with its permissions


def _is_right(path: Path, blob: Blob, blobs: Blobs) -> bool:
    if size_of(path) != blob.size_bytes:
        return False
    with suppress(OSError):
        if path.samefile(blobs.folder / blob.sha256):
            return True
    try:
        return sha256_of(path) == blob.sha256
    except ArtifactError:  # removed just now
        return False


def _paths(view: Path) -> set[str]:
    """Return the paths of all that lies in a folder and is no folder; empty when there is none."""
    return {
        Path(folder, name).relative_to(view).as_posix()
        for folder, _, names in os.walk(view)
        for name in names
    }
