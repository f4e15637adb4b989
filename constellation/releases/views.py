"""The folder of a release, laid out as those who serve read it: hard links to its blobs.

A view holds nothing of its own, so it may be removed and made again at any time. It appears whole:
it is made beside its place, checked, and renamed.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from constellation.errors import ArtifactError
from constellation.files import NO_LINKS
from constellation.releases.blobs import Blobs, damaged, sha256_of, size_of
from constellation.releases.manifest import Blob


def is_whole(view: Path, files: Mapping[str, Blob], blobs: Blobs) -> bool:
    """Return whether a view has exactly these files.

    A file that is the blob itself is taken as it is, since it was read when the view was made; one
    that was copied is read.
    """
    if _paths(view) != set(files):
        return False
    return all(_is_right(view / path, blob, blobs) for path, blob in files.items())


def make(view: Path, files: Mapping[str, Blob], blobs: Blobs) -> None:
    """Make a view, and read all of its files once; what lies there is replaced.

    Args:
        view: Its folder.
        files: Path in the view -> file.
        blobs: Where the files come from.

    Raises:
        ArtifactError: A blob is missing or damaged; nothing has changed.
        OSError: The folder cannot be written to.
    """
    view.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{view.name}-", dir=view.parent))
    try:
        for path, blob in files.items():
            _place(blobs.path(blob), fresh / path)
            if sha256_of(fresh / path) != blob.sha256:
                raise damaged(blobs.path(blob))
        fresh.chmod(0o755)  # mkdtemp makes it private
        _put_in_place(fresh, view, files, blobs)
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


def _put_in_place(fresh: Path, view: Path, files: Mapping[str, Blob], blobs: Blobs) -> None:
    if view.exists():
        remove(view)
    try:
        fresh.rename(view)
    except OSError:
        if not is_whole(view, files, blobs):  # else another process has just made it
            raise


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
