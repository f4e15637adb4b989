"""The store of releases in an artifacts folder: write, read, switch, verify and prune releases.

    ARTIFACTS/blobs/sha256/<hex> files by their content, never changed
    ARTIFACTS/releases/<V>.msgpack manifests, V = 1, 2, ... never used again ARTIFACTS/releases/<V>/
    views: folders with the files of a release ARTIFACTS/current number of the release that is
    served, replaced atomically

To change what is served, a process writes a new release and then switches to it. Nothing is changed
in place, so a process that is killed in between leaves the old release or the new one current.

A writer holds the store's shared lock from its first blob to its manifest, and `prune` needs the
lock exclusively: a blob that no manifest names yet is therefore never pruned. This file does not
know what the files mean, how they were trained or how they are served.
"""

import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from constellation.atomic_files import create_whole, sync_folder, write_whole
from constellation.errors import ArtifactError, ConfigError
from constellation.records import Table
from constellation.releases import release_folder, store_lock
from constellation.releases.blobs import Blobs, BlobWriter
from constellation.releases.manifest import Draft, Release
from constellation.releases.manifest_file import MANIFEST_BYTES_MAX, pack_release, unpack_release
from constellation.wire.table_file import unpack_table

_MANIFEST = re.compile(r"([1-9][0-9]{0,17})\.msgpack")
_VIEW = re.compile(r"[1-9][0-9]{0,17}")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}\n")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """Result of pruning: what was removed."""

    versions: tuple[int, ...]
    """Removed releases, ascending."""
    num_blobs: int
    """Number of removed blobs, which no remaining release needs."""
    size_bytes: int
    """Total bytes of the removed blobs."""


class ReleaseStore:
    """Reads and writes the releases of an artifacts folder.

    Args:
        artifacts: The artifacts folder; it may be missing.
        clock: Function that returns the seconds since the epoch, for the times of releases.
    """

    def __init__(self, artifacts: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.artifacts = artifacts
        self.blobs = Blobs(artifacts / "blobs" / "sha256")
        self._releases = artifacts / "releases"
        self._pointer = artifacts / "current"
        self._clock = clock

    def versions(self) -> tuple[int, ...]:
        """Return the versions of all releases, ascending."""
        if not self._releases.is_dir():
            return ()
        found = (_MANIFEST.fullmatch(path.name) for path in self._releases.iterdir())
        return tuple(sorted(int(match[1]) for match in found if match is not None))

    def read(self, version: int) -> Release:
        """Read a release from its manifest.

        Raises:
            ArtifactError: No release has this version, or its manifest is damaged.
        """
        path = self._manifest(version)
        try:
            with path.open("rb") as file:
                data = file.read(MANIFEST_BYTES_MAX + 1)  # one more byte shows that it is too large
        except FileNotFoundError as error:
            known = ", ".join(map(str, self.versions())) or "none"
            raise ArtifactError(
                path, f"there is no release {version}; there are: {known}"
            ) from error
        except OSError as error:
            raise ArtifactError(path, f"cannot be read: {error.strerror}") from error
        release = unpack_release(data, source=path)
        if release.version != version:
            raise ArtifactError(
                path, f"is the manifest of release {release.version}; rename the file"
            )
        return release

    def manifest(self, version: int) -> bytes:
        """Return the bytes of a release's manifest, as another machine keeps them.

        Raises:
            ArtifactError: As in `read`.
        """
        self.read(version)
        return self._manifest(version).read_bytes()

    def current(self) -> int | None:
        """Return the version of the current release; None in a folder without a current release.

        Raises:
            ArtifactError: The file `current` is damaged.
        """
        try:
            text = self._pointer.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ArtifactError(self._pointer, f"cannot be read: {error}") from error
        if _NUMBER.fullmatch(text) is None:
            raise ArtifactError(
                self._pointer,
                f"holds {text[:40]!r} instead of the number of a release; write it again with "
                f"constellation releases rollback V, one of {list(self.versions())}",
            )
        return int(text)

    def read_current(self) -> Release:
        """Read the current release from its manifest.

        Raises:
            ArtifactError: No release is current, or the file `current` or the manifest is damaged.
        """
        version = self.current()
        if version is None:
            raise ArtifactError(
                self.artifacts,
                "holds no release; train first (constellation train starter), or, if an earlier "
                f"version trained it: constellation releases adopt --artifacts {self.artifacts}",
            )
        return self.read(version)

    def table(self, release: Release) -> Table:
        """Return the routing table of a release, marked with the release, without endpoints.

        Raises:
            ArtifactError: The table is missing or damaged.
        """
        data = self.blobs.read(release.table)
        table = unpack_table(data, source=f"table of release {release.version}")
        return replace(table, release=release.version)

    def current_folder(self) -> Path:
        """Return the folder of the current release; errors as in `read_current` and `folder`."""
        return self.folder(self.read_current().version)

    @contextmanager
    def adding(self) -> Iterator[BlobWriter]:
        """Yield a writer that adds blobs; write the release that names them before the block ends.

        No process can prune during the block, so blobs that no release names yet are not removed.

        Raises:
            OSError: The store cannot be written to.
        """
        with self._shared():
            yield BlobWriter(self.blobs.folder)

    def write(self, draft: Draft) -> Release:
        """Write a release with the next version, without switching to it.

        Args:
            draft: A release whose blobs were added in an `adding` block that is still open.

        Returns:
            The release; it is on disk (fsync).

        Raises:
            ArtifactError: A blob is missing or has another size, or the parent does not exist.
            OSError: The store cannot be written to. In both cases no release is added.
        """
        with self._shared():
            if draft.parent is not None:
                self.read(draft.parent)
            self._check_blobs(draft)
            sync_folder(self.blobs.folder)  # another process may have just added them
            for version in count(max(self.versions(), default=0) + 1):
                release = Release.of(draft, version=version, created_s=float(self._clock()))
                try:
                    create_whole(self._manifest(version), pack_release(release))
                except FileExistsError:  # another process has just written this version
                    continue
                return release
        raise AssertionError("versions do not end")

    def switch(self, version: int) -> None:
        """Make a release the current one.

        Raises:
            ArtifactError: No release has this version, or a file is missing or has another size;
                the current release stays current.
            OSError: The store cannot be written to; the current release stays current.
        """
        with self._shared():
            self._check_blobs(self.read(version))
            write_whole(self._pointer, f"{version}\n".encode())

    def folder(self, version: int) -> Path:
        """Return the folder with all files of a release, laid out for the serving processes.

        A missing or incomplete folder is made first, and then all files are read and checked.

        Raises:
            ArtifactError: The release does not exist, or a file is missing or damaged.
            OSError: The store cannot be written to.
        """
        view = self._releases / str(version)
        if not release_folder.is_complete(view, self.read(version).files(), self.blobs):
            with self._shared():  # read again, since it may have been pruned meanwhile
                release_folder.make_view(view, self.read(version).files(), self.blobs)
        return view

    def verify(self, version: int) -> None:
        """Read all files of a release and check their sha256.

        Raises:
            ArtifactError: There is no such release, or a file is missing or damaged.
        """
        for blob in self.read(version).blobs():
            self.blobs.verify(blob)

    def part(self, version: int, *folders: str) -> Path:
        """Return the folder of a release after checking only the named sub-folders.

        Files in other sub-folders may be damaged, so that one kernel's damaged files do not stop
        others.

        Args:
            version: Number of the release.
            folders: Sub-folders of the release's folder, as in `KernelFiles.folders`.

        Raises:
            ArtifactError, OSError: As in `folder`.
        """
        view, files = self._releases / str(version), self.read(version).files()
        starts = tuple(f"{folder}/" for folder in folders)
        wanted = {path: blob for path, blob in files.items() if path.startswith(starts)}
        return view if release_folder.has_files(view, wanted, self.blobs) else self.folder(version)

    def let_go(self, *, but: int) -> None:
        """Use no release but one any more; a store keeps all releases until they are pruned."""

    def previous(self, version: int) -> int | None:
        """Return the parent of a release; None for the first release.

        Raises:
            ArtifactError: The release does not exist, or its parent was pruned.
        """
        parent = self.read(version).parent
        if parent is not None and parent not in self.versions():
            raise ArtifactError(
                self._manifest(parent),
                f"release {parent}, which release {version} was made from, was pruned; there are: "
                f"{', '.join(map(str, self.versions()))}",
            )
        return parent

    def prune(self, keep: int, *, in_use: Collection[int] = ()) -> Pruned:
        """Remove old releases, and the blobs that no remaining release needs.

        The current release and its parent are never removed.

        Args:
            keep: Number of newest releases to keep, at least 1.
            in_use: Further versions to keep, because running processes serve them.

        Returns:
            What was removed.

        Raises:
            ConfigError: `keep` is below 1.
            ArtifactError: Another process adds to the store, or the manifest of a kept release is
                damaged; nothing is removed.
            OSError: The store cannot be written to; only unneeded files were removed so far.
        """
        if keep < 1:
            raise ConfigError(f"keep is {keep}; at least 1 release must be kept")
        with store_lock.hold_exclusively(self._releases):
            stays = [self.read(version) for version in sorted(self._staying(keep, in_use))]
            kept = {release.version for release in stays}
            going = sorted(set(self.versions()) - kept)
            self._remove_leftovers()
            for view in self._entries(self._releases):
                if _VIEW.fullmatch(view.name) and int(view.name) not in kept:
                    release_folder.remove_view(view)
            for version in going:
                self._manifest(version).unlink()
            sync_folder(self._releases)  # a manifest never outlives its files
            num_blobs, size_bytes = self._remove_blobs(stays)
        return Pruned(versions=tuple(going), num_blobs=num_blobs, size_bytes=size_bytes)

    def _staying(self, keep: int, in_use: Collection[int]) -> set[int]:
        known = self.versions()
        named = {*known[-keep:], *in_use}
        if (current := self.current()) is not None:
            named |= {current, self.read(current).parent or current}
        return named & set(known)

    def _remove_blobs(self, stays: list[Release]) -> tuple[int, int]:
        needed = {blob.sha256 for release in stays for blob in release.blobs()}
        num_blobs = size_bytes = 0
        for path in self._entries(self.blobs.folder):
            if _HASH.fullmatch(path.name) and path.name not in needed:
                num_blobs, size_bytes = num_blobs + 1, size_bytes + path.stat().st_size
                path.unlink()
        return num_blobs, size_bytes

    def _remove_leftovers(self) -> None:
        """Remove temporary files of killed processes; the caller must hold the lock exclusively."""
        left = [*self._entries(self.blobs.folder), *self._entries(self._releases)]
        hidden = [path for path in left if path.name.startswith(".")]
        for path in [*hidden, *self.artifacts.glob(f".{self._pointer.name}.*.part")]:
            if path.name in (store_lock.LOCK_FILE, release_folder.LOCK_FILE):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _check_blobs(self, draft: Draft) -> None:
        for blob in draft.blobs():
            self.blobs.path(blob)

    def _shared(self) -> AbstractContextManager[None]:
        return store_lock.hold_shared(self._releases, self._remove_leftovers)

    def _manifest(self, version: int) -> Path:
        return self._releases / f"{version}.msgpack"

    def _entries(self, folder: Path) -> list[Path]:
        return sorted(folder.iterdir()) if folder.is_dir() else []
