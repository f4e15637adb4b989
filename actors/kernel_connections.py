"""The router's ways to the kernels: channels, their calls, and what a lost one means."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np

from actors.background_tasks import begin
from constellation.errors import (
    Cancelled,
    ConstellationError,
    KernelUnavailable,
    ServiceUnavailable,
)
from constellation.records import FloatArray, Score, Table
from constellation.wire import channel, error_status, services
from constellation.wire.request_tracing import Span


async def read(call: Any) -> Any:
    """Return the next reply of a stream, or grpc's EOF; whoever waits here may be cancelled.

    A read that is itself cancelled is forgotten by grpc with all that it holds, which may be the
    block of 8 KB in which a reply has just come. So the call is cancelled and the read ends then.
    """
    reading = asyncio.ensure_future(call.read())
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        call.cancel()
        reading.add_done_callback(_hear)
        raise


def _hear(task: asyncio.Task[Any]) -> None:
    """Take notice of how a read ended that nobody waits for, or it is logged as unheard."""
    if not task.cancelled():
        task.exception()


class Replies:
    """The replies of one stream, in order."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __aiter__(self) -> "Replies":
        return self

    async def __anext__(self) -> bytes:
        reply: bytes = await read(self._call)
        if reply is grpc.aio.EOF:
            raise StopAsyncIteration
        return reply

    def cancel(self) -> None:
        """End the call; nothing happens when it is over."""
        self._call.cancel()


class KernelLink:
    """The way to the kernels of one process; requests name the one they are for."""

    def __init__(self, endpoint: str, token: str | None) -> None:
        self.endpoint = endpoint
        self._channel = grpc.aio.insecure_channel(endpoint, options=channel.CHANNEL_OPTIONS)
        self._metadata = channel.credentials(token)
        self._raw = services.Stub(self._channel, services.KERNEL, raw_replies=True)
        self._stub = services.Stub(self._channel, services.KERNEL)

    def generate(self, request: Any, timeout_s: float, span: Span | None = None) -> Replies:
        """Start an answer; replies come as bytes. What follows from the call follows `span`."""
        call = self._raw.Generate(request, timeout=timeout_s, metadata=self._with(span))
        return Replies(call)

    async def ask(self, request: Any, timeout_s: float, span: Span | None = None) -> bytes:
        """Ask for a whole answer, as bytes."""
        call = self._raw.Ask(request, timeout=timeout_s, metadata=self._with(span))
        reply: bytes = await call
        return reply

    async def score(self, request: Any, timeout_s: float, span: Span | None = None) -> Score:
        """Ask how likely a text is."""
        reply = await self._stub.Score(request, timeout=timeout_s, metadata=self._with(span))
        return Score(nats=reply.nats, num_tokens=reply.num_tokens)

    def predict(self, timeout_s: float, span: Span | None = None) -> Any:
        """Open a stream of predictions."""
        return self._stub.Predict(timeout=timeout_s, metadata=self._with(span))

    async def token_nats(
        self, request: Any, timeout_s: float, span: Span | None = None
    ) -> FloatArray:
        """Ask how likely each token of a text is."""
        reply = await self._stub.Score(request, timeout=timeout_s, metadata=self._with(span))
        return np.array(reply.token_nats, dtype=np.float64)

    def _with(self, span: Span | None) -> tuple[tuple[str, str], ...]:
        return self._metadata if span is None else (*self._metadata, *span.headers)

    async def close(self, *, grace_s: float | None) -> None:
        """Close the connection when its calls have ended, after `grace_s` at the latest."""
        await self._channel.close(grace_s)


class KernelLinks:
    """The ways to all kernels of a table that are up."""

    def __init__(self, token: str | None, *, grace_s: float) -> None:
        """Begin without any.

        Args:
            token: Secret of every call.
            grace_s: Seconds that calls may take to end after their kernel left or moved.
        """
        self._token = token
        self._grace_s = grace_s
        self._links: dict[str, KernelLink] = {}
        self.down: frozenset[str] = frozenset()
        """Kernels of the table that nobody can reach now."""
        self._num_under_way: Counter[str] = Counter()

    def follow(self, table: Table) -> None:
        """Open the ways that are new and close those that lead nowhere any more."""
        old = {link.endpoint: link for link in self._links.values()}
        endpoints = {site.name: site.endpoint for site in table.sites if site.endpoint is not None}
        links = {
            endpoint: old.pop(endpoint) if endpoint in old else KernelLink(endpoint, self._token)
            for endpoint in dict.fromkeys(endpoints.values())
        }
        self._links = {kernel: links[endpoint] for kernel, endpoint in endpoints.items()}
        self.down = frozenset(site.name for site in table.sites if site.endpoint is None)
        for link in old.values():
            # Calls under way finish, or fail by themselves when the process is gone.
            begin("closing", link.close(grace_s=self._grace_s))

    def get(self, kernel: str) -> KernelLink | None:
        """Return the way to a kernel; None while it is down."""
        return self._links.get(kernel)

    def to(self, kernel: str) -> KernelLink:
        """Return the way to a kernel.

        Raises:
            KernelUnavailable: It is down.
        """
        if kernel not in self._links:
            raise KernelUnavailable(kernel, "its process is restarting")
        return self._links[kernel]

    @contextmanager
    def counted(self, kernel: str) -> Iterator[None]:
        """Count a call to a kernel for as long as it lasts."""
        self._num_under_way[kernel] += 1
        try:
            yield
        finally:
            self._num_under_way[kernel] -= 1
            if not self._num_under_way[kernel]:
                del self._num_under_way[kernel]

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way."""
        return not self._num_under_way

    def crowded(self, depth: int | None) -> frozenset[str]:
        """Return the kernels with at least `depth` calls under way; None: no number is too many."""
        if depth is None:
            return frozenset()
        return frozenset(name for name, num in self._num_under_way.items() if num >= depth)

    async def close(self) -> None:
        """Close all, at once."""
        for link in set(self._links.values()):
            await link.close(grace_s=None)


def typed_loss(error: Exception, kernel: str) -> ConstellationError:
    """Return the error of ours that a failed call to `kernel` stands for."""
    if not isinstance(error, grpc.aio.AioRpcError):
        assert isinstance(error, ConstellationError)
        return error
    typed = error_status.from_rpc_error(
        error, endpoint=kernel, limit_bytes=channel.MESSAGE_BYTES_MAX
    )
    # A channel closed under a call (its kernel moved) looks like a cancellation of ours.
    if isinstance(typed, ServiceUnavailable | Cancelled):
        return KernelUnavailable(kernel, "its process was lost")
    return typed
