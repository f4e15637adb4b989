"""NodeProcess: the Ray actor that answers for one machine of a constellation.

There is one on every node of a deployment that spans machines, and none on a single machine.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict

from prometheus_client import CollectorRegistry

from actors import _ray, ray_nodes
from actors.actor_calls import NodeCalls
from actors.gpu_readings import read_gpus
from actors.local_processes import is_actor, kill_actor
from actors.log_reader import LogPart
from actors.node.accelerators import accelerators
from actors.node.host import NodeHost
from actors.node.peer_source import PeerSource
from actors.node_readings import read_node
from actors.registry_questions import ask_registry
from actors.spec import DeploymentSpec, NodeAnnouncement
from constellation.machine_limits import usable_memory
from constellation.records import Node, NodeState
from constellation.telemetry.logs import set_up_logging
from constellation.telemetry.node_metrics import NodeActorMetrics
from constellation.telemetry.process_metrics import serve_metrics
from constellation.wire import channel, services
from constellation.wire.blob_service import BlobClient, BlobServicer

logger = logging.getLogger(__name__)


class NodeProcess:
    """Delivers and fetches blobs, and acts on processes, logs and ports of its machine."""

    async def __init__(self, spec: DeploymentSpec, node_id: str) -> None:  # type: ignore[misc]
        self._member = _ray.node_member(node_id)
        set_up_logging(spec.node_folder.log_path(self._member))
        spec = spec.with_token()
        self._spec = spec
        self._metrics = NodeActorMetrics(CollectorRegistry())
        address = _ray.node_address(spec)
        self._host = await asyncio.to_thread(self._make_host, address, node_id)
        await asyncio.to_thread(self._host.clear_weights, spec.id)
        self._peers: dict[str, BlobClient] = {}
        bind = spec.internal_bind(address)
        guard = services.Guard(lambda reason: self._metrics.rejected.labels(reason).inc())
        servicer = BlobServicer(self._host.find_blob, count_sent=self._metrics.sent.inc)
        handler = services.handlers(services.BLOBS, servicer, guard)
        # Kept: a server without a reference ends.
        self._server, endpoint = await channel.serve(bind, [handler], [services.BLOBS.full_name])
        metrics_endpoint, _ = serve_metrics(
            self._metrics.registry, bind.host, context=spec.metrics_context()
        )
        folder = spec.node_folder.path
        self._metrics.read_with(
            socket.gethostname(),
            lambda: asdict(read_node(folder)),
            self._cache_bytes,
            read_gpus,
        )
        self._announcement = NodeAnnouncement(
            node=self._host.node,
            member=self._member,
            endpoint=endpoint,
            metrics_endpoint=metrics_endpoint,
            pid=os.getpid(),
            deployment=spec.id,
        )
        logger.info("node answers", extra={"endpoint": endpoint, "address": address})

    def _make_host(self, address: str, node_id: str) -> NodeHost:
        spec, listed = self._spec, ray_nodes.alive_nodes().get(node_id)
        node = Node(
            id=node_id,
            address=address,
            devices=accelerators(0.0 if listed is None else listed.num_gpus),
            memory_bytes=usable_memory().total_bytes,
        )
        return NodeHost(
            node,
            spec.node_folder,
            spec.artifacts,
            storage=spec.storage,
            bytes_max=spec.cache_bytes,
            note=self._metrics.note_attempt,
        )

    def _cache_bytes(self) -> int:
        return self._host.cache_bytes

    async def where(self) -> NodeAnnouncement:
        """Return what this node is and where it delivers blobs."""
        return self._announcement

    async def provide(self, release: int, folders: tuple[str, ...]) -> str:
        """Make parts of a release readable on this machine; return the folder of the store.

        Raises:
            ArtifactError: No source has a file undamaged.
            ServiceUnavailable: The registry does not answer.
        """
        manifest = await ask_registry(self._spec, lambda calls: calls.manifest(release))
        return str(await self._host.provide(manifest, folders, self._sources))

    async def _sources(self) -> Sequence[PeerSource]:
        """Return the other nodes as sources of blobs, over connections that stay open."""
        endpoints = await ask_registry(self._spec, lambda calls: calls.blob_endpoints())
        for endpoint in self._peers.keys() - set(endpoints):
            await self._peers.pop(endpoint).close()
        for endpoint in endpoints:
            if endpoint not in self._peers and endpoint != self._announcement.endpoint:
                self._peers[endpoint] = BlobClient(
                    endpoint, self._spec.token, self._spec.client_tls
                )
        return [PeerSource(self._peers[each]) for each in endpoints if each in self._peers]

    async def is_alive(self, pid: int) -> bool:
        """Return whether a process of this machine runs an actor."""
        return is_actor(pid)

    async def kill(self, pid: int) -> bool:
        """Kill a process of this machine that runs an actor; return whether there was one."""
        killed = kill_actor(pid)
        logger.warning("process killed", extra={"pid": pid, "was_there": killed})
        return killed

    async def read_log(self, member: str, offset: int | None, num_lines: int) -> LogPart:
        """Return a part of the log that a member wrote on this machine."""
        return await asyncio.to_thread(self._host.read_log, member, offset, num_lines)

    async def prove_ports(self, addresses: tuple[tuple[str, int], ...]) -> None:
        """Check that servers can listen at addresses of this machine.

        Raises:
            DeploymentError: One is in use, or is no address of this machine.
        """
        await asyncio.to_thread(self._host.prove_ports, addresses)

    async def report(self) -> NodeState:
        """Return how loaded this machine is."""
        return await asyncio.to_thread(self._host.report)


NodeActor = _ray.ActorClass[NodeCalls](NodeProcess)
