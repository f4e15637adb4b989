"""The releases of a node that does not see the store: parts of releases, made from its blobs.

    FOLDER/blobs/sha256/          the node's cache of blobs
    FOLDER/releases/<V>.msgpack   manifests, as the registry sent them
    FOLDER/releases/<V>/          the files of the kernels that the node serves, as links to blobs
    FOLDER/releases/.<V>.held     lock that processes hold while they use release V

The layout is that of an artifacts folder, so that processes read it with `ReleaseStore`. Parts of a
release that no process of the node needs are not there.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from constellation.atomic_files import write_whole
from constellation.errors import ArtifactError
from constellation.releases import release_folder
from constellation.releases.blob_cache import DEFAULT_BYTES_MAX, BlobCache
from constellation.releases.blob_sources import BLOBS_PATH, Source
from constellation.releases.blob_transfer import Note, TransferLimits
from constellation.releases.blobs import sha256_of
from constellation.releases.manifest import Blob, Release
from constellation.releases.manifest_file import unpack_release
from constellation.releases.store import ReleaseStore

_TRIES: Final = 2
"""Times that a blob is fetched when the one that was here is damaged."""

Provide = Callable[[int, tuple[str, ...]], Path]
"""Makes sub-folders of a release readable here; returns the folder of the store that has them."""


class NodeStore:
    """Keeps parts of releases for the processes of a node.

    Args:
        folder: Folder of the store.
        bytes_max: Most bytes of its blobs.
        limits: How long fetching a blob may take.
        note: Gets every question to a source of blobs.
    """

    def __init__(
        self,
        folder: Path,
        *,
        bytes_max: int = DEFAULT_BYTES_MAX,
        limits: TransferLimits | None = None,
        note: Note = lambda attempt: None,
    ) -> None:
        self.folder = folder
        self.cache = BlobCache(folder / BLOBS_PATH, bytes_max=bytes_max, limits=limits, note=note)
        self._releases = folder / "releases"

    def admit(self, manifest: bytes) -> Release:
        """Keep the manifest of a release; another release of that number is forgotten.

        Raises:
            ArtifactError: The manifest is damaged.
            OSError: The folder cannot be written to.
        """
        release = unpack_release(manifest, source="manifest from the registry")
        path = self._releases / f"{release.version}.msgpack"
        with suppress(FileNotFoundError):
            if path.read_bytes() == manifest:
                return release
            self._forget(release.version)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, manifest)
        return release

    async def provide(
        self, release: Release, folders: Sequence[str], sources: Sequence[Source]
    ) -> None:
        """Make sub-folders of a release readable: fetch their blobs, verify and link them.

        Args:
            release: A release that was admitted.
            folders: Sub-folders of the release's folder, as in `KernelFiles.folders`.
            sources: Where blobs may be, in the order in which they are asked.

        Raises:
            ArtifactError: No source has a blob undamaged, or there is no room.
            OSError: The folder cannot be written to.
        """
        files = part_of(release, folders)
        view = self._releases / str(release.version)
        if await asyncio.to_thread(release_folder.has_files, view, files, self.cache.blobs):
            return
        if not await asyncio.to_thread(self.cache.has_room, files.values()):
            await asyncio.to_thread(self._forget_unused, release.version)
        async with AsyncExitStack() as stack:
            for blob in dict.fromkeys(files.values()):
                await self._hold_verified(stack, blob, sources)
            await asyncio.to_thread(release_folder.add_files, view, files, self.cache.blobs)

    async def _hold_verified(
        self, stack: AsyncExitStack, blob: Blob, sources: Sequence[Source]
    ) -> None:
        """Hold a blob after reading it: a disk may have damaged it since it arrived."""
        for tries_left in reversed(range(_TRIES)):
            path = await stack.enter_async_context(self.cache.held(blob, sources))
            if await asyncio.to_thread(sha256_of, path) == blob.sha256:
                return
            self.cache.drop(blob)
            if not tries_left:
                raise ArtifactError(path, "is damaged again right after it was fetched")

    def _forget_unused(self, but: int) -> None:
        """Remove the folders of releases that no process uses, so that blobs can be evicted."""
        for view in sorted(self._releases.iterdir()) if self._releases.is_dir() else ():
            is_view = view.name.isdigit() and view.is_dir()
            if is_view and int(view.name) != but and self._is_unused(int(view.name)):
                self._forget(int(view.name))

    def _is_unused(self, version: int) -> bool:
        lock = os.open(_lock_of(self.folder, version), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        return True

    def _forget(self, version: int) -> None:
        view = self._releases / str(version)
        if view.is_dir():
            release_folder.remove_view(view)
        (self._releases / f"{version}.msgpack").unlink(missing_ok=True)


class NodeReleases(ReleaseStore):
    """Reads releases by way of the node, which fetches what is missing.

    Used by processes that serve. A release that the node keeps stays there as long as a process
    lives that has read a part of it, or until the process has called `let_go`.

    Args:
        provide: Has the node make parts of a release readable.
        artifacts: Folder of the store; what the node sees there is read there.
    """

    def __init__(self, provide: Provide, artifacts: Path) -> None:
        super().__init__(artifacts)
        self._provide = provide
        self._held: dict[int, int] = {}
        self._provided: dict[tuple[int, tuple[str, ...]], Path] = {}

    def read(self, version: int) -> Release:
        """Read a release from its manifest; errors as in `part`."""
        return ReleaseStore(self._provide(version, ())).read(version)

    def part(self, version: int, *folders: str) -> Path:
        """Return the folder of a release that has the named sub-folders.

        Raises:
            ArtifactError: No source of the node has a file undamaged.
        """
        known = self._provided.get((version, folders))
        if known is not None:
            with suppress(ArtifactError, OSError):  # the folder was removed by hand
                return ReleaseStore(known).part(version, *folders)
        folder = self._provide(version, folders)
        if folder != self.artifacts and version not in self._held:
            self._held[version] = hold_release(folder, version)
            folder = self._provide(version, folders)  # it may have been forgotten in between
        self._provided[version, folders] = folder
        return ReleaseStore(folder).part(version, *folders)

    def let_go(self, *, but: int) -> None:
        """Use no release but one any more; the node may remove the others."""
        for version in [each for each in self._held if each != but]:
            os.close(self._held.pop(version))
        for version, folders in [each for each in self._provided if each[0] != but]:
            del self._provided[version, folders]


def part_of(release: Release, folders: Sequence[str]) -> dict[str, Blob]:
    """Return path -> blob of the files in sub-folders of a release."""
    starts = tuple(f"{folder}/" for folder in folders)
    return {path: blob for path, blob in release.files().items() if path.startswith(starts)}


def hold_release(folder: Path, version: int) -> int:
    """Return an open file by which a release of a node stays until the file is closed."""
    path = _lock_of(folder, version)
    held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(held, fcntl.LOCK_SH)
    return held


def _lock_of(folder: Path, version: int) -> Path:
    path = folder / "releases" / f".{version}.held"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
