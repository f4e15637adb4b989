"""Sources of blobs: folders, storage URIs, and whatever else keeps the protocol `Source`.

A source is trusted with nothing: the receiver checks size and sha256. Every way in which a source
fails has a name in `Fault`; no source raises anything else for a failure of its own.
"""

import asyncio
import errno
from collections.abc import AsyncGenerator
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Final, Protocol, cast

from constellation.errors import ConfigError
from constellation.releases.manifest import Blob

CHUNK_BYTES: Final = 2**20
"""Bytes that are read from a source at a time."""
BLOBS_PATH: Final = "blobs/sha256"
"""Folder of the blobs below the folder or the URI of a store."""

_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM})
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR})


class Fault(StrEnum):
    """Every way in which a source fails to deliver a blob."""

    ABSENT = "absent"
    """The source does not have the blob, or has it no more."""
    REFUSED = "refused"
    """The source denies access, or is too busy to deliver."""
    UNREACHABLE = "unreachable"
    """No connection to the source was made."""
    STALLED = "stalled"
    """The source delivered nothing for too long, or too little in the time that it had."""
    BROKEN = "broken"
    """Reading failed in the middle: a lost connection, or an error of the disk."""
    SHORT = "short"
    """The source ended before the size of the blob."""
    LONG = "long"
    """The source delivered more bytes than the blob has."""
    DAMAGED = "damaged"
    """The bytes have another sha256 than the blob."""


class SourceFailed(Exception):
    """A source did not deliver a blob; the next source is asked."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault
        self.reason = reason


class Source(Protocol):
    """Delivers the bytes of blobs."""

    @property
    def kind(self) -> str:
        """Label of the source in metrics: "store", "uri" or "node"."""
        ...

    @property
    def name(self) -> str:
        """Name of the source for people, such as the path of a folder."""
        ...

    def read(self, blob: Blob, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a blob from `offset` to its end.

        Raises:
            SourceFailed: The source cannot deliver; bytes that were yielded before may be right.
        """
        ...


class FolderSource:
    """Delivers blobs of a store whose folder this machine sees.

    Args:
        store: Folder of the store; blobs lie in its sub-folder `blobs/sha256`.
    """

    kind: Final = "store"

    def __init__(self, store: Path) -> None:
        self.name = str(store)
        self._blobs = store / BLOBS_PATH

    async def read(self, blob: Blob, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a blob from `offset` on; as in `Source`."""
        path = self._blobs / blob.sha256
        async for chunk in _chunks(await asyncio.to_thread(_opened, _open_file, path), offset):
            yield chunk


class UriSource:
    """Delivers blobs of a store at a URI that `pyarrow.fs` opens, such as s3://BUCKET/STORE.

    Args:
        uri: URI of the store; blobs lie below it in `blobs/sha256`. Schemes: file, s3, gs.

    Raises:
        ConfigError: pyarrow is not installed, or does not know the URI.
    """

    kind: Final = "uri"

    def __init__(self, uri: str) -> None:
        self.name = uri
        fs = _pyarrow_fs(uri)
        try:
            self._files, self._path = fs.FileSystem.from_uri(uri)
        except (ValueError, OSError) as error:
            raise ConfigError(
                f"the URI of blobs {uri!r} cannot be opened: {error}; give file:///FOLDER, "
                "s3://BUCKET/FOLDER or gs://BUCKET/FOLDER"
            ) from error

    async def read(self, blob: Blob, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a blob from `offset` on; as in `Source`."""
        path = f"{self._path}/{BLOBS_PATH}/{blob.sha256}"
        file = await asyncio.to_thread(_opened, self._files.open_input_file, path)
        async for chunk in _chunks(file, offset):
            yield chunk


def _pyarrow_fs(uri: str) -> ModuleType:
    try:
        from pyarrow import fs  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise ConfigError(
            f"blobs at {uri!r} need pyarrow; install it: pip install pyarrow"
        ) from error
    module: ModuleType = fs
    return module


def _open_file(path: Path) -> BinaryIO:
    if path.is_symlink() or not path.is_file():  # opening a pipe would block
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))
    return cast(BinaryIO, path.open("rb", buffering=0))


def _opened(open_file: Any, path: Path | str) -> BinaryIO:
    try:
        file: BinaryIO = open_file(path)
    except OSError as error:
        raise _failure(error) from error
    return file


async def _chunks(file: BinaryIO, offset: int) -> AsyncGenerator[bytes, None]:
    """Yield a file from `offset` on; every read is done in a thread, since disks may hang."""

    def read_at(position: int) -> bytes:
        try:
            file.seek(position)
            return file.read(CHUNK_BYTES)
        except (OSError, ValueError) as error:
            raise SourceFailed(Fault.BROKEN, str(error)) from error

    try:
        while chunk := await asyncio.to_thread(read_at, offset):
            offset += len(chunk)
            yield chunk
    finally:
        # Not waited for: closing waits for a read that hangs.
        asyncio.get_running_loop().run_in_executor(None, file.close)


def _failure(error: OSError) -> SourceFailed:
    reason = error.strerror or str(error)
    if error.errno in _ABSENT or isinstance(error, FileNotFoundError):
        return SourceFailed(Fault.ABSENT, reason)
    if error.errno in _REFUSED:
        return SourceFailed(Fault.REFUSED, reason)
    return SourceFailed(Fault.UNREACHABLE, reason)
