"""NodeHost: what is local to one machine, as a plain class that tests build without Ray.

The node's folder with logs and blobs, processes by their ids, ports, load, memory and disk. Nothing
outside of a node acts on a process id, a port or a file of the node.
"""

import asyncio
import errno
import logging
import shutil
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from actors.folders import NodeFolder
from actors.log_reader import LogPart, follow, tail
from actors.node_readings import read_node
from constellation.atomic_files import write_whole
from constellation.errors import ArtifactError, ConfigError, DeploymentError
from constellation.records import Node, NodeState
from constellation.releases.blob_cache import DEFAULT_BYTES_MAX
from constellation.releases.blob_sources import FolderSource, Source, UriSource
from constellation.releases.blob_transfer import Note, TransferLimits
from constellation.releases.manifest import Release
from constellation.releases.manifest_file import unpack_release
from constellation.releases.node_store import NodeStore, part_of
from constellation.releases.store import ReleaseStore
from constellation.telemetry.process_metrics import WRITE_FAILURES
from constellation.wire.channel import authority

logger = logging.getLogger(__name__)

Peers = Callable[[], Awaitable[Sequence[Source]]]
"""Returns the other nodes as sources of blobs."""

_STEP_BYTES = 2**24
"""Free memory and room on disks are rounded to this, so that less changes."""


class NodeHost:
    """Answers for one machine.

    Args:
        node: The machine.
        folder: Its folder for logs, weights and blobs; made when something is written.
        artifacts: Folder of the store, which this machine need not see.
        storage: URI of the store for nodes that do not see the folder; None for no URI.
        bytes_max: Most bytes of blobs.
        limits: How long fetching a blob may take.
        note: Gets every question to a source of blobs.

    Raises:
        ConfigError: The URI cannot be opened.
    """

    def __init__(
        self,
        node: Node,
        folder: NodeFolder,
        artifacts: Path,
        *,
        storage: str | None = None,
        bytes_max: int = DEFAULT_BYTES_MAX,
        limits: TransferLimits | None = None,
        note: Note = lambda attempt: None,
    ) -> None:
        self.node = node
        self._folder = folder
        self._artifacts = artifacts
        self._seen = ReleaseStore(artifacts)
        self._kept = NodeStore(folder.store_dir, bytes_max=bytes_max, limits=limits, note=note)
        self._storage = () if storage is None else (UriSource(storage),)

    async def provide(self, manifest: bytes, folders: Sequence[str], peers: Peers) -> Path:
        """Make parts of a release readable on this machine.

        Args:
            manifest: Manifest of the release, as the registry has it.
            folders: Sub-folders of the release's folder.
            peers: Asked only when something has to be fetched.

        Returns:
            The folder of the store that has them: the artifacts where this machine sees them
            whole, without copying anything; else the node's own.

        Raises:
            ArtifactError: The manifest is damaged, or no source has a file undamaged.
            OSError: The node's folder cannot be written to.
        """
        release = unpack_release(manifest, source="manifest from the registry")
        if await asyncio.to_thread(self._sees, manifest, release, folders):
            return self._artifacts
        await asyncio.to_thread(self._kept.admit, manifest)
        if folders:
            sources = [*self._stores(), *self._storage, *await peers()]
            await self._kept.provide(release, folders, sources)
        return self._kept.folder

    def _stores(self) -> list[Source]:
        """Return the artifacts as a source, where this machine sees any."""
        return [FolderSource(self._artifacts)] if self._seen.blobs.folder.is_dir() else []

    def _sees(self, manifest: bytes, release: Release, folders: Sequence[str]) -> bool:
        """Return whether the artifacts here are the registry's, and have these files.

        A folder of the same name on another machine may hold another training.
        """
        path = self._artifacts / "releases" / f"{release.version}.msgpack"
        try:
            if path.read_bytes() != manifest:
                return False
            for blob in part_of(release, folders).values():
                self._seen.blobs.path(blob)
        except (OSError, ArtifactError):
            return False
        return True

    def clear_weights(self, deployment: str) -> None:
        """Remove the weights that processes of another deployment mapped, before others are mapped.

        Args:
            deployment: Id of the deployment whose weights stay.
        """
        marker = self._folder.path / "deployment"
        with suppress(FileNotFoundError):
            if marker.read_text(encoding="utf-8") == deployment:
                return
        shutil.rmtree(self._folder.weights_dir, ignore_errors=True)
        try:
            write_whole(marker, deployment.encode())
        except OSError as error:  # a full disk stops no machine
            WRITE_FAILURES.labels("deployment").inc()
            facts = {"path": str(marker), "reason": str(error)}
            logger.warning("file is not written", extra=facts)

    def find_blob(self, sha256: str) -> Path | None:
        """Return the path of a blob that this machine has; None when there is none.

        The receiver checks size and content.
        """
        for folder in (self._kept.cache.folder, self._seen.blobs.folder):
            if (folder / sha256).is_file():
                return folder / sha256
        return None

    @property
    def cache_bytes(self) -> int:
        """Bytes of all blobs that this machine keeps."""
        return self._kept.cache.size_bytes()

    def read_log(self, member: str, offset: int | None, num_lines: int) -> LogPart:
        """Return a part of a member's log.

        Args:
            member: Name of the member.
            offset: Where the part begins; None for the last lines.
            num_lines: Number of last lines.

        Raises:
            ConfigError: This is no name of a member.
        """
        if not member or "/" in member or member.startswith("."):
            raise ConfigError(f"{member!r} names no member, so there is no log; see status")
        path = self._folder.log_path(member)
        return tail(path, num_lines=num_lines) if offset is None else follow(path, offset)

    def prove_ports(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Check that servers can listen at these addresses of this machine.

        Args:
            addresses: Host and port of each, port 0 for any free one.

        Raises:
            DeploymentError: One is in use, or is no address of this machine.
        """
        with ExitStack() as held:  # all at once, so that no two are the same
            for host, port in addresses:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                try:
                    server = socket.create_server((host, port), family=family)
                except OSError as error:
                    raise _not_free(self.node, host, port, error) from error
                held.enter_context(server)

    def report(self, num_processes: int = 0) -> NodeState:
        """Return how loaded this machine is.

        Args:
            num_processes: Processes of the constellation that serve here.
        """
        found = read_node(self._folder.path)
        return NodeState(
            node=self.node,
            num_processes=num_processes,
            memory_free_bytes=found.memory_free_bytes // _STEP_BYTES * _STEP_BYTES,
            load_ratio=round(found.load_ratio, 2),
            disk_free_bytes=found.disk_free_bytes // _STEP_BYTES * _STEP_BYTES,
        )


def _not_free(node: Node, host: str, port: int, error: OSError) -> DeploymentError:
    way_out = "choose another port"
    if error.errno in (errno.EADDRNOTAVAIL, socket.EAI_NONAME, socket.EAI_AGAIN):
        way_out = "choose an address of that machine"
    return DeploymentError(
        f"node {node.address} cannot listen on {authority(host, port)}: {error.strerror}; {way_out}"
    )
