"""Make and remove release folders: each lays out a release's files as hard links to its blobs.

Serving processes read kernels, coordizer and table from such a folder (a view). A view holds no
data of its own, so it can be removed and made again at any time. It is made under a temporary name,
checked and renamed, so it appears complete or not at all. One process at a time makes views; other
processes wait for it and use its view.
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
"""Lock in the folder of views, held by the process that makes a view."""


def is_complete(view: Path, files: Mapping[str, Blob], blobs: Blobs) -> bool:
    """Return whether a view has exactly these files, with the right content.

    A hard link to the blob is accepted without reading, since it was read when the view was made; a
    copy is read and its sha256 checked.
    """
    return _paths(view) == set(files) and has_files(view, files, blobs)


def has_files(view: Path, files: Mapping[str, Blob], blobs: Blobs) -> bool:
    """Return whether a view has these files with the right content; other files are ignored."""
    return all(_has_content(view / path, blob, blobs) for path, blob in files.items())


def make_view(view: Path, files: Mapping[str, Blob], blobs: Blobs) -> None:
    """Make a view and check the content of all its files; an incomplete view is replaced.

    Raises:
        ArtifactError: A blob is missing or damaged; no view is made or replaced.
        OSError: The folder cannot be written to.
    """
    view.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive_lock(view.parent / LOCK_FILE):
        if not is_complete(view, files, blobs):  # else another process has made the view meanwhile
            _build_view(view, files, blobs)


def add_files(view: Path, files: Mapping[str, Blob], blobs: Blobs) -> None:
    """Link files into a view that need not have all files of its release; readers may be there.

    The caller has verified the blobs. Every file appears whole or not at all.

    Raises:
        ArtifactError: A blob is missing.
        OSError: The folder cannot be written to.
    """
    view.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _exclusive_lock(view.parent / LOCK_FILE):
        for path, blob in files.items():
            if not _has_content(view / path, blob, blobs):
                fresh = (view / path).with_name(f".{(view / path).name}.part")
                fresh.unlink(missing_ok=True)
                _link_or_copy(blobs.path(blob), fresh)
                # A link is not renamed over a link to the same file: the system leaves both.
                (view / path).unlink(missing_ok=True)
                fresh.rename(view / path)


@contextmanager
def _exclusive_lock(path: Path) -> Iterator[None]:
    """Hold a lock exclusively; the system releases it when the holding process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _build_view(view: Path, files: Mapping[str, Blob], blobs: Blobs) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=f".{view.name}-", dir=view.parent))
    try:
        for path, blob in files.items():
            _link_or_copy(blobs.path(blob), fresh / path)
            if sha256_of(fresh / path) != blob.sha256:
                raise damaged(blobs.path(blob))
        fresh.chmod(0o755)  # mkdtemp makes the folder readable by its owner only
        if view.exists():
            remove_view(view)
        fresh.rename(view)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def remove_view(view: Path) -> None:
    """Remove a view; for readers the whole view disappears at once.

    Raises:
        OSError: The folder cannot be written to.
    """
    aside = Path(tempfile.mkdtemp(prefix=f".{view.name}-", dir=view.parent))
    try:
        with suppress(FileNotFoundError):  # another process has just removed it
            view.rename(aside)  # a rename may replace an empty folder
    finally:
        shutil.rmtree(aside)


def _link_or_copy(blob: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(blob, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copy(blob, path)  # with its permissions


def _has_content(path: Path, blob: Blob, blobs: Blobs) -> bool:
    if size_of(path) != blob.size_bytes:
        return False
    with suppress(OSError):
        if path.samefile(blobs.folder / blob.sha256):
            return True
    try:
        return sha256_of(path) == blob.sha256
    except ArtifactError:  # the file was just removed
        return False


def _paths(view: Path) -> set[str]:
    """Return the paths of all files below a folder; empty when the folder is missing."""
    return {
        Path(folder, name).relative_to(view).as_posix()
        for folder, _, names in os.walk(view)
        for name in names
    }
