"""KernelProcess: the Ray actor that loads, serves and announces the kernels placed in a process.

A process that restarts reads the names of its kernels in the run folder, where the registry writes
the placement before a kernel joins and after a kernel has left. Where this says nothing, the
registry is asked: a process never serves nothing.
"""

import asyncio
import logging
import os

from actors import _ray
from actors.actor_calls import KernelCalls
from actors.kernel.kernel_group import KernelGroup
from actors.placement_file import read_placement
from actors.registry_questions import ask_registry
from actors.release_files import releases_here
from actors.spec import Announcement, DeploymentSpec
from constellation.telemetry.logs import set_up_logging
from constellation.telemetry.process_metrics import serve_metrics
from constellation.telemetry.tracing import open_tracing

logger = logging.getLogger(__name__)


class KernelProcess:
    """Serves a KernelGroup, and announces its endpoint and its kernels to the registry."""

    async def __init__(self, spec: DeploymentSpec, member: str) -> None:  # type: ignore[misc]
        # Ray awaits this on the actor's event loop, also after a restart.
        set_up_logging(spec.node_folder.log_path(member))
        spec = spec.with_token()
        self._member = member
        self._deployment = spec.id
        self._group = KernelGroup(spec, releases=releases_here(spec))
        kernels, release = await _placed(spec, member)
        await self._group.load(kernels, release)
        server = self._group.server
        self._tracing = None
        if spec.tracing is not None:
            server.guard.tracing = self._tracing = open_tracing(
                spec.tracing,
                service="constellation-kernel",
                instance=member,
                count=lambda outcome, num: server.metrics.spans.labels(outcome).inc(num),
            )
        bind = spec.internal_bind(_ray.node_address(spec))
        self._endpoint = await server.open(bind, stall_s=spec.kernel.stall_s)
        self._metrics_endpoint, _ = serve_metrics(
            server.metrics.registry, bind.host, context=spec.metrics_context()
        )
        told = _ray.announce(spec, await self.where())
        logger.info(
            "kernels serve",
            extra={
                "endpoint": self._endpoint,
                "registry_told": told,
                "kernels": list(self._group.names),
            },
        )

    async def where(self) -> Announcement:
        """Return where this process listens and which kernels it serves."""
        return Announcement(
            member=self._member,
            endpoint=self._endpoint,
            metrics_endpoint=self._metrics_endpoint,
            pid=os.getpid(),
            node=_ray.node_name(),
            kernels=self._group.names,
            release=self._group.release,
            deployment=self._deployment,
        )

    async def join(self, kernel: str, release: int) -> Announcement:
        """Serve one more kernel of a release; raises `ArtifactError` when a file is damaged."""
        await self._group.join(kernel, release)
        return await self.where()

    async def leave(self, kernel: str, grace_s: float) -> None:
        """Serve a kernel no more once it has finished what it is doing, or after `grace_s`."""
        await self._group.leave(kernel, grace_s)

    async def load_next(self, release: int) -> None:
        """Load the kernels of a release beside what is served.

        Raises:
            ArtifactError: A file is damaged, or speaks another vocabulary than what is served.
        """
        await self._group.load_next(release)

    async def take_next(self, release: int) -> Announcement:
        """Serve the kernels of a release, loaded now unless `load_next` has loaded them."""
        await self._group.take_next(release)
        return await self.where()

    async def forget_next(self) -> None:
        """Drop what `load_next` loaded."""
        self._group.forget_next()

    async def drain(self, grace_s: float) -> None:
        """Refuse new calls and finish the running ones."""
        await self._group.server.stop(grace_s=grace_s)
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)


async def _placed(spec: DeploymentSpec, member: str) -> tuple[tuple[str, ...], int | None]:
    """Return the kernels of a process, and their release; None means the current one.

    The registry is asked where this machine does not see the run folder, and when the placement
    there cannot be read or does not know the process.

    Raises:
        DeploymentError: No kernel is placed in the process.
        ServiceUnavailable: The registry does not answer.
    """
    if not spec.spans_nodes:
        placed = read_placement(spec)
        kernels = placed.placement.processes.get(member, ())
        if kernels:
            return kernels, placed.release_of(member)
    answer = await ask_registry(spec, lambda calls: calls.placed(member))
    return answer.kernels, answer.release


KernelActor = _ray.ActorClass[KernelCalls](
    KernelProcess, num_gpus=lambda spec: spec.kernel.num_gpus
)
