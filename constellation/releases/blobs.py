"""Files under the sha256 of their content: written whole, never changed, checked when read."""

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
"""Permissions of a blob: nobody writes to it by mistake."""

_CHUNK_BYTES = 2**20
_WAY_OUT: Final = (
    "switch to a release that does not need it (constellation releases rollback V), or run what "
    "made this one again, which writes it anew"
)


class Blobs:
    """Reads a folder of blobs.

    Args:
        folder: It need not be there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, blob: Blob) -> Path:
        """Return where a blob lies.

        Its size is looked at, and not its content: `verify` reads that.

        Raises:
            ArtifactError: It is missing, or longer or shorter than it was.
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
        """Read a blob, and refuse one that is not what it was.

        Raises:
            ArtifactError: As `path`, or its content is another one.
        """
        path = self.path(blob)
        if sha256_of(path) != blob.sha256:
            raise damaged(path)

    def read(self, blob: Blob) -> bytes:
        """Return the content of a blob.

        Raises:
            ArtifactError: As `verify`.
        """
        path = self.path(blob)
        with _reading(path) as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != blob.sha256:
            raise damaged(path)
        return data


class BlobWriter(Blobs):
    """Puts files into a folder of blobs; `ReleaseStore.adding` is the way to get one."""

    def put_file(self, source: Path, *, verify: bool = False) -> Blob:
        """Copy a file into the folder, unless it is there.

        A blob that is there and has another size is written again.

        Args:
            source: The file, which nobody changes meanwhile.
            verify: Read a blob that is there, and write it again when its content is another one.

        Returns:
            What finds it again; the disk has it then.

        Raises:
            ArtifactError: The source cannot be read, or was changed meanwhile.
            OSError: The blob cannot be written; no part of it is left.
        """
        with _reading(source) as file:
            digest, size_bytes = _copy(file, None)
            blob = Blob(sha256=digest, size_bytes=size_bytes)
            if not self._has(blob, verify=verify):
                file.seek(0)
                self._write(blob, file, source)
        return blob

    def put_bytes(self, content: bytes, *, verify: bool = False) -> Blob:
        """Write content into the folder, as `put_file` does with a file."""
        blob = Blob(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        if not self._has(blob, verify=verify):
            with replaced_whole(self.folder / blob.sha256, mode=MODE) as target:
                target.write(content)
        return blob

    def _has(self, blob: Blob, *, verify: bool) -> bool:
        path = self.folder / blob.sha256
        if size_of(path) != blob.size_bytes:
            return False
        return not verify or sha256_of(path) == blob.sha256

    def _write(self, blob: Blob, file: BinaryIO, source: Path) -> None:
        with replaced_whole(self.folder / blob.sha256, mode=MODE) as target:
            if _copy(file, target) != (blob.sha256, blob.size_bytes):
                raise ArtifactError(source, "was changed while it was copied; run this again")


def _copy(source: BinaryIO, target: IO[bytes] | None) -> tuple[str, int]:
    """Read a file to its end, and write it to `target` if there is one; return sha256 and size."""
    digest, size_bytes = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
        size_bytes += len(chunk)
        if target is not None:
            target.write(chunk)
    return digest.hexdigest(), size_bytes


def damaged(path: Path) -> ArtifactError:
    """Return the error for a file whose content is not that of its blob."""
    return ArtifactError(path, f"is damaged: its sha256 is not the one it was put by; {_WAY_OUT}")


def sha256_of(path: Path) -> str:
    """Return the sha256 (hex) of a file.

    Raises:
        ArtifactError: It cannot be read.
    """
    with _reading(path) as file:
        return _copy(file, None)[0]


def size_of(path: Path) -> int | None:
    """Return the size of a file in bytes; None when there is none, or a folder or link instead."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read; what the enclosed work raises passes as it is."""
    try:
        # A pipe would be waited for, and a folder opened.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ArtifactError(path, "is no file")
        file = path.open("rb")
    except OSError as error:
        raise ArtifactError(path, f"cannot be read: {error.strerror}") from error
    with file:
        yield file
