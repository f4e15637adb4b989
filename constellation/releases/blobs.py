"""Content-addressed files (blobs): each is stored under its sha256, immutable, checked on read."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Final

from constellation.atomic_files import replaced_whole
from constellation.errors import ArtifactError
from constellation.releases.manifest import Blob

MODE: Final = 0o444
"""Permissions of a blob: read-only, so that no program changes it by mistake."""

_CHUNK_BYTES = 2**20
_WAY_OUT: Final = (
    "switch to a release that does not need it (constellation releases rollback V), or repeat the "
    "command that made this release, which writes the file again"
)


class Blobs:
    """Reads blobs from a folder.

    Args:
        folder: Folder of the blobs; it may be missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, blob: Blob) -> Path:
        """Return the path of a blob.

        Only the size is checked; `verify` checks the content.

        Raises:
            ArtifactError: The file is missing, or has another size than the blob.
        """
        path = self.folder / blob.sha256
        size_bytes = size_of(path)
        if size_bytes is None:
            raise ArtifactError(path, f"is missing; {_WAY_OUT}")
        if size_bytes != blob.size_bytes:
            raise ArtifactError(
                path,
                f"is damaged: it has {size_bytes} bytes instead of {blob.size_bytes}; {_WAY_OUT}",
            )
        return path

    def verify(self, blob: Blob) -> None:
        """Read a blob; raise an error as `path` does, or when its content has another sha256."""
        path = self.path(blob)
        if sha256_of(path) != blob.sha256:
            raise damaged(path)

    def read(self, blob: Blob) -> bytes:
        """Return the content of a blob; errors as in `verify`."""
        path = self.path(blob)
        with _reading(path) as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != blob.sha256:
            raise damaged(path)
        return data


class BlobWriter(Blobs):
    """Adds blobs to a folder; `ReleaseStore.adding` is the way to get a writer."""

    def put_file(self, source: Path) -> Blob:
        """Copy a file into the folder as a blob, unless the blob exists undamaged.

        Args:
            source: The file; no process may change it during the copy.

        Returns:
            The blob's sha256 and size; its content is on disk (fsync).

        Raises:
            ArtifactError: The source cannot be read, or was changed during the copy.
            OSError: The blob cannot be written; no part of it is left.
        """
        with _reading(source) as file:
            digest, size_bytes = _copy(file, None)
            blob = Blob(sha256=digest, size_bytes=size_bytes)
            if not self._has(blob):
                file.seek(0)
                self._write(blob, file, source)
        return blob

    def put_bytes(self, content: bytes) -> Blob:
        """Write content into the folder as a blob, as `put_file` does with a file."""
        blob = Blob(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        if not self._has(blob):
            with replaced_whole(self.folder / blob.sha256, mode=MODE) as target:
                target.write(content)
        return blob

    def _has(self, blob: Blob) -> bool:
        """Read an existing blob: one that a disk has damaged must not enter another release."""
        path = self.folder / blob.sha256
        return size_of(path) == blob.size_bytes and sha256_of(path) == blob.sha256

    def _write(self, blob: Blob, file: BinaryIO, source: Path) -> None:
        with replaced_whole(self.folder / blob.sha256, mode=MODE) as target:
            if _copy(file, target) != (blob.sha256, blob.size_bytes):
                raise ArtifactError(source, "was changed while it was copied; run this again")


def _copy(source: BinaryIO, target: IO[bytes] | None) -> tuple[str, int]:
    """Read a file to its end, write it to `target` unless that is None; return sha256 and size."""
    digest, size_bytes = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
        size_bytes += len(chunk)
        if target is not None:
            target.write(chunk)
    return digest.hexdigest(), size_bytes


def damaged(path: Path) -> ArtifactError:
    """Return the error for a file whose content does not have the sha256 of its blob."""
    return ArtifactError(path, f"is damaged: its sha256 differs from its name; {_WAY_OUT}")


def sha256_of(path: Path) -> str:
    """Return the sha256 (hex) of a file.

    Raises:
        ArtifactError: The file cannot be read.
    """
    with _reading(path) as file:
        return _copy(file, None)[0]


def size_of(path: Path) -> int | None:
    """Return the size of a file in bytes; None when the path is missing, a folder or a link."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; errors of the with block are not changed."""
    try:
        # Opening a pipe would block, and opening a folder would succeed.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ArtifactError(path, "is no file")
        file = path.open("rb")
    except OSError as error:
        raise ArtifactError(path, f"cannot be read: {error.strerror}") from error
    with file:
        yield file
