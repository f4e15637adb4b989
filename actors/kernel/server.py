"""KernelServer: the kernels of one process behind one gRPC server, on one thread for models."""

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from actors.kernel.progress import ProgressWatch
from actors.kernel.step_loop import ModelThread
from constellation.errors import KernelUnavailable
from constellation.records import Progress
from constellation.telemetry.metrics import KernelMetrics
from constellation.wire import channel, services
from constellation.wire.kernel_service import KernelServicer

if TYPE_CHECKING:
    from actors.kernel.host import KernelHost


class KernelServer:
    """What the kernels of a process have in common.

    Attributes:
        kernels: Name -> the kernel; who is in here is served.
        thread: Touches all models of the process.
        metrics: Of the process; series name their kernel.
        guard: Answers for whatever a handler raises.
    """

    def __init__(self) -> None:
        self.kernels: dict[str, KernelHost] = {}
        self.thread = ModelThread()
        self.metrics = KernelMetrics(CollectorRegistry())
        self.guard = services.Guard(lambda reason: self.metrics.rejected.labels(reason).inc())
        self._watch = ProgressWatch(self.thread, self.every, time.monotonic)
        self._server: Any = None
        self._stopping = asyncio.Lock()

    def named(self, kernel: str) -> "KernelHost":
        """Return a kernel; "" is the only one.

        Raises:
            KernelUnavailable: It is not here, or no name was given and there are several.
        """
        found = self.kernels.get(kernel)
        if found is None and not kernel and len(self.kernels) == 1:
            (found,) = self.kernels.values()
        if found is None:
            raise KernelUnavailable(kernel, "it is not in the process that was asked")
        return found

    def every(self) -> "Iterable[KernelHost]":
        """Return all kernels."""
        return tuple(self.kernels.values())

    def progress(self) -> Progress:
        """Return how the steps progress; have a kernel write a token when it wrote none lately."""
        return self._watch.look()

    def remove(self, kernel: str) -> None:
        """Answer for a kernel no more, and export nothing of it."""
        del self.kernels[kernel]
        self.metrics.forget(kernel)

    async def open(self, bind: channel.Bind, *, stall_s: float) -> str:
        """Start the gRPC server; return its host:port."""
        servicer = KernelServicer(self, stall_s=stall_s)
        handler = services.handlers(services.KERNEL, servicer, self.guard)
        self._server, endpoint = await channel.serve(
            bind,
            [handler],
            [services.KERNEL.full_name],
            options=channel.INTERNAL_SERVER_OPTIONS,
        )
        return endpoint

    async def stop(self, *, grace_s: float) -> None:
        """Refuse new calls, finish the running ones within `grace_s`, then stop."""
        async with self._stopping:  # grpc crashes when a server is stopped twice at a time
            await self._server.stop(grace_s)
            for kernel in tuple(self.kernels.values()):
                await kernel.leader.close()
            self.thread.close()
