"""The blobs that a node keeps: a folder with a size limit, shared by all processes of the node.

    CACHE/<hex>          whole blobs, each read and compared with its sha256 when it arrived
    CACHE/.<hex>.part    what has arrived of a blob so far

A blob appears whole or not at all. Of several processes that want a blob one fetches it, and the
others wait for the result; when the fetching process dies, the next goes on where it ended.

When room is needed, the blob that was not used for the longest time goes first. A blob in use never
goes: one that a process holds (a lock that the system releases with the process), or that is linked
into the folder of a release.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from constellation.atomic_files import sync_folder
from constellation.errors import ArtifactError, ConfigError
from constellation.releases.blob_sources import Source
from constellation.releases.blob_transfer import Note, PartialBlob, TransferLimits, complete
from constellation.releases.blobs import MODE, Blobs, damaged, sha256_of, size_of
from constellation.releases.manifest import Blob

DEFAULT_BYTES_MAX: Final = 20 * 2**30
"""Size limit of a node's blobs unless the configuration names another one."""
_LOOK_S: Final = 0.05
"""Seconds between two looks whether another process has ended its fetch."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A blob of the cache."""

    path: Path
    size_bytes: int
    used_ns: int
    num_links: int


class BlobCache:
    """Keeps blobs of a node.

    Args:
        folder: Folder of the blobs; made, for its owner only, when the first blob arrives.
        bytes_max: Most bytes of all blobs together, at least 1.
        limits: How long fetching may take.
        note: Gets every question to a source.
    """

    def __init__(
        self,
        folder: Path,
        *,
        bytes_max: int = DEFAULT_BYTES_MAX,
        limits: TransferLimits | None = None,
        note: Note = lambda attempt: None,
    ) -> None:
        if bytes_max < 1:
            raise ConfigError(f"the cache of blobs may have {bytes_max} bytes; allowed: from 1")
        self.folder = folder
        self.blobs = Blobs(folder)
        self._bytes_max = bytes_max
        self._limits = TransferLimits() if limits is None else limits
        self._note = note

    def size_bytes(self) -> int:
        """Return the bytes of all blobs, those included of which only a part has arrived."""
        with suppress(FileNotFoundError):
            return sum(size_of(path) or 0 for path in self.folder.iterdir())
        return 0

    def has(self, blob: Blob) -> bool:
        """Return whether a blob is here whole; its content was checked when it arrived."""
        return size_of(self.folder / blob.sha256) == blob.size_bytes

    def has_room(self, blobs: Iterable[Blob]) -> bool:
        """Return whether these blobs fit beside all that is here."""
        return self.size_bytes() + self._missing_bytes(blobs) <= self._bytes_max

    def drop(self, blob: Blob) -> None:
        """Remove a blob that was found damaged; whoever has it open keeps what it has."""
        (self.folder / blob.sha256).unlink(missing_ok=True)

    @asynccontextmanager
    async def held(self, blob: Blob, sources: Sequence[Source]) -> AsyncGenerator[Path, None]:
        """Fetch a blob unless it is here; yield its path, which stays until the block ends.

        Args:
            blob: The blob.
            sources: Where it may be, in the order in which they are asked.

        Raises:
            ArtifactError: No source delivers it, or there is no room beside what is in use.
            OSError: The folder cannot be written to.
        """
        while (held := await asyncio.to_thread(self._hold, blob)) is None:
            await self._fetch(blob, sources)
        try:
            yield self.folder / blob.sha256
        finally:
            os.close(held)

    def _hold(self, blob: Blob) -> int | None:
        """Return an open file whose shared lock keeps a blob here; None when it is not here."""
        path = self.folder / blob.sha256
        if not self.has(blob):
            return None
        try:
            held = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        fcntl.flock(held, fcntl.LOCK_SH)
        if os.fstat(held).st_nlink == 0:  # evicted meanwhile
            os.close(held)
            return None
        os.utime(held)  # the blobs that were not used for the longest time go first
        return held

    async def _fetch(self, blob: Blob, sources: Sequence[Source]) -> None:
        """Fetch a blob, or wait until another process has fetched it or given up."""
        await asyncio.to_thread(self._make_folder)
        part = self.folder / f".{blob.sha256}.part"
        file = await _claim(part)
        try:
            if self.has(blob):
                await asyncio.to_thread(part.unlink, missing_ok=True)
                return
            await asyncio.to_thread(self._make_room, blob, part)
            arrived = await asyncio.to_thread(PartialBlob, blob, file)
            await complete(arrived, sources, limits=self._limits, note=self._note)
            await asyncio.to_thread(self._finish, file, part, blob)
        finally:
            file.close()

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _finish(self, file: BinaryIO, part: Path, blob: Blob) -> None:
        os.fchmod(file.fileno(), MODE)
        os.fsync(file.fileno())
        part.rename(self.folder / blob.sha256)
        sync_folder(self.folder)

    def _make_room(self, blob: Blob, part: Path) -> None:
        """Evict blobs until a blob fits.

        Raises:
            ArtifactError: It does not fit beside the blobs in use.
        """
        others = [each for each in self._kept() if each.path != part]
        kept = sorted(others, key=lambda each: each.used_ns)
        over = sum(each.size_bytes for each in kept) + blob.size_bytes - self._bytes_max
        for each in kept:
            if over > 0 and _evict(each):
                over -= each.size_bytes
        if over > 0:
            raise ArtifactError(
                self.folder,
                f"blob {blob.sha256} of {blob.size_bytes} bytes does not fit: the limit is "
                f"{self._bytes_max} bytes and the rest is in use; raise cluster.cache_gb",
            )

    def _kept(self) -> list[_Kept]:
        found = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                facts = path.lstat()
                if not path.name.startswith(".") or path.suffix == ".part":
                    found.append(_Kept(path, facts.st_size, facts.st_mtime_ns, facts.st_nlink))
        return found

    def _missing_bytes(self, blobs: Iterable[Blob]) -> int:
        return sum(blob.size_bytes for blob in blobs if not self.has(blob))

    def verify(self, blob: Blob) -> None:
        """Read a blob that is here.

        Raises:
            ArtifactError: Its content has another sha256.
        """
        path = self.blobs.path(blob)
        if sha256_of(path) != blob.sha256:
            raise damaged(path)


async def _claim(path: Path) -> BinaryIO:
    """Open a partial blob alone, once no other process or task has it."""
    while True:
        file = await asyncio.to_thread(_claimed, path)
        if file is not None:
            return file
        await asyncio.sleep(_LOOK_S)


def _claimed(path: Path) -> BinaryIO | None:
    """Open a partial blob alone; None while another process or task has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    file = os.fdopen(descriptor, "r+b", buffering=0)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.lstat()):
            return file
    except (BlockingIOError, FileNotFoundError):  # it is fetched, or was just completed
        pass
    file.close()
    return None


def _evict(kept: _Kept) -> bool:
    """Remove a blob that nobody uses; return whether it is gone."""
    if kept.num_links > 1:
        return False
    try:
        descriptor = os.open(kept.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink > 1:  # linked meanwhile
            return False
        kept.path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
