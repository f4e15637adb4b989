"""What the registry answers to the actors of machines, and to processes that start there."""

import asyncio

from actors.registry.kernel_starts import KernelStarts
from actors.registry.members import Members
from actors.registry.nodes import Nodes
from actors.registry_messages import PlacedKernels
from actors.spec import DeploymentSpec
from constellation.errors import DeploymentError
from constellation.releases.store import ReleaseStore


class NodeAnswers:
    """Calls by which other machines get from the registry what they do not see in a folder."""

    _spec: DeploymentSpec
    _members: Members
    _nodes: Nodes
    _starts: KernelStarts

    @property
    def _served(self) -> int:
        raise NotImplementedError

    async def placed(self, member: str) -> PlacedKernels:
        """Return which kernels a process serves, and of which release.

        Raises:
            DeploymentError: No kernel is placed in the process.
        """
        kernels = self._members.placement.processes.get(member, ())
        if not kernels:
            raise DeploymentError(f"no kernel is placed in {member}; nothing is to be served there")
        return PlacedKernels(kernels=kernels, release=self._starts.ahead.get(member, self._served))

    async def manifest(self, release: int) -> bytes:
        """Return the manifest of a release.

        Raises:
            ArtifactError: There is no such release, or its manifest is damaged.
        """
        store = ReleaseStore(self._spec.artifacts)
        return await asyncio.to_thread(store.manifest, release)

    async def blob_endpoints(self) -> tuple[str, ...]:
        """Return where machines deliver blobs, the machine of the registry first."""
        return tuple(each.endpoint for each in self._nodes.announcements)
