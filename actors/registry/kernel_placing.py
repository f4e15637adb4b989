"""Where kernels are served: in processes of this machine, or over the nodes of the Ray cluster.

`constellation/runtime/placement.py` and `node_placement.py` decide; this file gives them the nodes
that are alive and the memory that kernels are predicted to need.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress

from actors.ray_nodes import AliveNode
from actors.registry.nodes import Nodes
from actors.spec import DeploymentSpec
from constellation.errors import ArtifactError, GrowthRefused
from constellation.records import Device, KernelNeed, Node, Table
from constellation.releases.manifest import Blob, Release
from constellation.releases.store import ReleaseStore
from constellation.runtime.kernel_memory import kernel_needs, rooms_for_processes
from constellation.runtime.node_placement import place, rebalanced, spread
from constellation.runtime.placement import Placement

GPUS = "gpus"
"""Device of a node in placements: all GPUs together, of which Ray chooses one for each process."""


class KernelPlacing:
    """Makes placements of the kernels of a table.

    Args:
        spec: Of the deployment.
        nodes: The nodes of the Ray cluster.
    """

    def __init__(self, spec: DeploymentSpec, nodes: Nodes) -> None:
        self._spec = spec
        self._nodes = nodes

    async def fitted(self, table: Table, before: Placement) -> Placement:
        """Return the placement of the kernels of a table; placed kernels stay, if they can."""
        if not self._spec.spans_nodes:
            return before.fitted(site.name for site in table.sites)
        needs = await self._needs(table)
        return place(needs, self._rooms(needs), before)

    async def admitted(self, kernel: str, table: Table, before: Placement) -> Placement:
        """Return the placement with one more kernel, of a table that is to be served.

        Raises:
            GrowthRefused: No node has room for the kernel.
        """
        if not self._spec.spans_nodes:
            return before.admitted(kernel)
        wanted = {*before.kernels, kernel}
        needs = [need for need in await self._needs(table) if need.name in wanted]
        found = place(needs, self._rooms(needs), before)
        if kernel in found.pending:
            raise GrowthRefused(kernel, found.pending[kernel])
        after = before
        for at in found.replicas_located()[kernel]:
            after = after.joined(kernel, at)
        return after

    async def spread(self, table: Table, before: Placement) -> Placement:
        """Return the placement in which replicas are on nodes of their own, if there are enough."""
        needs = await self._needs(table)
        return spread(needs, self._rooms(needs), before)

    async def rebalanced(self, table: Table, before: Placement) -> Placement:
        """Return the placement in which the nodes are about equally full."""
        if not self._spec.spans_nodes:
            return before
        needs = await self._needs(table)
        return rebalanced(needs, self._rooms(needs), before)

    async def _needs(self, table: Table) -> list[KernelNeed]:
        """Return what the kernels of a table need; nothing is known of an unreadable release."""
        options, store = self._spec.kernel, ReleaseStore(self._spec.artifacts)
        sizes: dict[str, int] = {}
        with suppress(ArtifactError):
            sizes = _sizes(await asyncio.to_thread(store.read, table.release))
        return kernel_needs(
            {site.name: sizes.get(site.name, 0) for site in table.sites},
            {site.name: site.seat for site in table.sites},
            per_process=options.per_actor,
            slots=options.slots,
            prefix_bytes=options.prefix_mib * 2**20,
        )

    def _rooms(self, needs: Iterable[KernelNeed]) -> list[Node]:
        """Return the nodes that are alive and can serve kernels."""
        needs, options = list(needs), self._spec.kernel
        if options.device != "cuda":
            return [_node(name, each, ()) for name, each in self._nodes.alive.items()]
        rooms = []
        for name, each in self._nodes.alive.items():
            num_kernels = int(each.num_gpus) * options.per_gpu * options.per_actor
            memory_bytes = rooms_for_processes(needs, num_kernels)
            if memory_bytes:
                devices = (Device(name=GPUS, memory_bytes=memory_bytes),)
                rooms.append(_node(name, each, devices))
        return rooms


def _sizes(release: Release) -> dict[str, int]:
    """Return kernel -> size in bytes of its files; an adapter counts its base, too."""

    def size(files: Mapping[str, Blob]) -> int:
        return sum(blob.size_bytes for blob in files.values())

    bases = {None: 0} | {key: size(files) for key, files in release.bases.items()}
    return {each.name: size(each.files) + bases[each.base] for each in release.kernels}


def _node(name: str, alive: AliveNode, devices: tuple[Device, ...]) -> Node:
    return Node(
        id=name, address=alive.address, memory_bytes=max(1, alive.memory_bytes), devices=devices
    )
