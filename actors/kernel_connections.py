"""Connections to kernels: gRPC channels, the calls over them, and what a lost call means."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, Final

import grpc
import numpy as np

from actors.background_tasks import begin
from constellation.errors import (
    Cancelled,
    ConstellationError,
    KernelUnavailable,
    ServiceUnavailable,
)
from constellation.records import FloatArray, KernelHealth, Score, Table
from constellation.runtime.replica_choice import ReplicaLoads
from constellation.wire import channel, error_status, services
from constellation.wire.request_tracing import Span
from constellation.wire.tls import ClientTls

_BROKEN_WHILE_WRITING: Final = "Internal error from Core"
"""What grpc.aio says when a connection breaks while a message is written; no server sends this."""


async def read(call: Any, kernel: str) -> Any:
    """Return the next reply of a stream, or grpc's EOF; the waiting task may be cancelled.

    When a read itself is cancelled, grpc never frees what the read holds, such as the block of 8 KB
    of a reply that has just come. So the call is cancelled instead, which ends the read.

    Raises:
        KernelUnavailable: The connection to `kernel` was closed under the call.
        grpc.aio.AioRpcError: The call failed.
    """
    reading = asyncio.ensure_future(call.read())
    try:
        with _closing_is_loss(kernel):
            return await asyncio.shield(reading)
    except asyncio.CancelledError:
        call.cancel()
        reading.add_done_callback(_consume_error)
        raise


@contextmanager
def _closing_is_loss(kernel: str) -> Iterator[None]:
    """Turn a cancellation that is not one of the waiting task into the loss of a kernel.

    grpc cancels the calls of a channel that is closed, and raises in their callers what looks as if
    the callers were cancelled.

    Raises:
        KernelUnavailable: The call was cancelled, and its caller was not.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        waiting = asyncio.current_task()
        if waiting is None or waiting.cancelling():
            raise
        raise KernelUnavailable(kernel, "its process was lost") from error


def _consume_error(task: asyncio.Task[Any]) -> None:
    """Take the error of an abandoned read, so that asyncio does not log it as never retrieved."""
    if not task.cancelled():
        task.exception()


class Replies:
    """Iterates over the replies of one stream, in order."""

    def __init__(self, call: Any, kernel: str) -> None:
        self._call = call
        self._kernel = kernel

    def __aiter__(self) -> "Replies":
        return self

    async def __anext__(self) -> bytes:
        reply: bytes = await read(self._call, self._kernel)
        if reply is grpc.aio.EOF:
            raise StopAsyncIteration
        return reply

    def cancel(self) -> None:
        """End the call; has no effect on a call that is over."""
        self._call.cancel()


class KernelLink:
    """One connection to a process of kernels; every request names its kernel."""

    def __init__(self, endpoint: str, token: str | None, tls: ClientTls | None = None) -> None:
        self.endpoint = endpoint
        self._channel = channel.open_internal_channel(endpoint, tls)
        self._metadata = channel.credentials(token)
        self._raw = services.Stub(self._channel, services.KERNEL, raw_replies=True)
        self._stub = services.Stub(self._channel, services.KERNEL)
        self._reconnecting: asyncio.Task[None] | None = None
        if channel.crosses_network(endpoint):
            self._reconnecting = begin("reconnecting", self._reconnect())

    async def _reconnect(self) -> None:
        """Connect again and again while the connection is lost.

        A channel that tries to connect only when it is called makes every call wait for the try; a
        channel whose last try failed fails calls at once.
        """
        while True:
            state = self._channel.get_state(try_to_connect=True)
            await self._channel.wait_for_state_change(state)

    def generate(self, request: Any, timeout_s: float, span: Span | None = None) -> Replies:
        """Start an answer; replies come as bytes. The call becomes a child of `span`."""
        call = self._raw.Generate(request, timeout=timeout_s, metadata=self._with(span))
        return Replies(call, request.kernel)

    async def ask(self, request: Any, timeout_s: float, span: Span | None = None) -> bytes:
        """Return a whole answer, as bytes."""
        call = self._raw.Ask(request, timeout=timeout_s, metadata=self._with(span))
        with _closing_is_loss(request.kernel):
            reply: bytes = await call
        return reply

    async def score(self, request: Any, timeout_s: float, span: Span | None = None) -> Score:
        """Return how likely a text is."""
        reply = await self._score(request, timeout_s, span)
        return Score(nats=reply.nats, num_tokens=reply.num_tokens)

    def predict(self, timeout_s: float, span: Span | None = None) -> Any:
        """Open a stream of predictions."""
        return self._stub.Predict(timeout=timeout_s, metadata=self._with(span))

    async def token_nats(
        self, request: Any, timeout_s: float, span: Span | None = None
    ) -> FloatArray:
        """Return the nats of each scored token of a text, shape (T,)."""
        reply = await self._score(request, timeout_s, span)
        return np.array(reply.token_nats, dtype=np.float64)

    async def _score(self, request: Any, timeout_s: float, span: Span | None) -> Any:
        with _closing_is_loss(request.kernel):
            return await self._stub.Score(request, timeout=timeout_s, metadata=self._with(span))

    def _with(self, span: Span | None) -> tuple[tuple[str, str], ...]:
        return self._metadata if span is None else (*self._metadata, *span.headers)

    async def close(self, *, grace_s: float | None) -> None:
        """Close the connection when its calls have ended, at the latest after `grace_s` seconds.

        Calls that have not ended then fail with `KernelUnavailable`; at once if `grace_s` is None.
        """
        if self._reconnecting is not None:
            self._reconnecting.cancel()
        await self._channel.close(grace_s)


class KernelLinks:
    """Connections to all kernels of a table that are up."""

    def __init__(self, token: str | None, *, grace_s: float, tls: ClientTls | None = None) -> None:
        """Hold no connection yet.

        Args:
            token: Secret that every call carries; None sends no secret.
            grace_s: Seconds that calls may take to end after their kernel left or moved.
            tls: Files for TLS with kernels; None means unencrypted connections, on loopback.
        """
        self._token = token
        self._tls = tls
        self._grace_s = grace_s
        self._links: dict[str, tuple[KernelLink, ...]] = {}
        self.down: frozenset[str] = frozenset()
        """Kernels of the table that have no endpoint now."""
        self._num_under_way: Counter[str] = Counter()
        self._loads = ReplicaLoads()

    def follow(self, table: Table) -> None:
        """Open connections to new endpoints, and close connections to endpoints that are gone.

        Calls to kernels that have left the table are finished. Calls to kernels that moved, or are
        down, fail at once, and are continued elsewhere: the machine may have vanished, and then no
        other sign of it would come. So do calls to a process of a kernel that other processes
        serve; one of these continues the answer.
        """
        before = self._links
        old = {link.endpoint: link for links in before.values() for link in links}
        endpoints = {site.name: site.endpoints for site in table.sites if site.endpoints}
        links = {
            endpoint: old.pop(endpoint) if endpoint in old else self._open(endpoint)
            for endpoint in dict.fromkeys(chain.from_iterable(endpoints.values()))
        }
        self._links = {
            kernel: tuple(links[each] for each in several) for kernel, several in endpoints.items()
        }
        self.down = frozenset(site.name for site in table.sites if site.endpoint is None)
        self._loads.keep_only(
            {(name, each) for name, several in endpoints.items() for each in several}
        )
        named = {site.name for site in table.sites}
        lost = {
            link.endpoint for kernel, links in before.items() if kernel in named for link in links
        }
        for endpoint, link in old.items():
            begin("closing", link.close(grace_s=None if endpoint in lost else self._grace_s))

    def note_health(self, health: Iterable[KernelHealth]) -> None:
        """Note how many requests the processes of kernels with several processes have."""
        for kernel in health:
            for each in kernel.replicas:
                if each.endpoint is not None:
                    num_requests = each.queue_depth + each.num_running
                    self._loads.reported(kernel.name, each.endpoint, num_requests)

    def _open(self, endpoint: str) -> KernelLink:
        return KernelLink(endpoint, self._token, self._tls)

    def left(self, kernel: str, lost: Collection["KernelLink | None"]) -> tuple[KernelLink, ...]:
        """Return the connections to a kernel that are not among the lost ones."""
        links = self._links.get(kernel, ())
        return tuple(link for link in links if link not in lost) if lost else links

    def to(self, kernel: str, lost: Collection["KernelLink | None"] = ()) -> KernelLink:
        """Return the connection to a kernel: of several processes, that with the fewest requests.

        Args:
            kernel: Name of the kernel.
            lost: Connections that are not to be used.

        Raises:
            KernelUnavailable: The kernel is down, or every connection to the kernel is lost.
        """
        links = self.left(kernel, lost)
        if not links:
            raise KernelUnavailable(kernel, "its process is restarting")
        if len(links) == 1:
            return links[0]
        chosen = self._loads.choose(kernel, [link.endpoint for link in links])
        return next(link for link in links if link.endpoint == chosen)

    @contextmanager
    def counted(self, kernel: str, link: KernelLink | None = None) -> Iterator[None]:
        """Count a call to a kernel for as long as it lasts."""
        endpoint = "" if link is None else link.endpoint
        self._num_under_way[kernel] += 1
        self._loads.began(kernel, endpoint)
        try:
            yield
        finally:
            self._loads.ended(kernel, endpoint)
            self._num_under_way[kernel] -= 1
            if not self._num_under_way[kernel]:
                del self._num_under_way[kernel]

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way."""
        return not self._num_under_way

    def crowded(self, depth: int | None) -> frozenset[str]:
        """Return the kernels with at least `depth` calls under way to each of their processes.

        None if `depth` is None.
        """
        if depth is None:
            return frozenset()
        return frozenset(
            name
            for name, num in self._num_under_way.items()
            if num >= depth and self._fewest(name, num) >= depth
        )

    def _fewest(self, kernel: str, num_under_way: int) -> int:
        """Return the calls under way to the process of a kernel that has the fewest."""
        links = self._links.get(kernel, ())
        if len(links) < 2:
            return num_under_way
        return self._loads.fewest_own(kernel, [link.endpoint for link in links])

    async def close(self) -> None:
        """Close all connections at once, without waiting for calls."""
        for link in {link for links in self._links.values() for link in links}:
            await link.close(grace_s=None)


def typed_loss(error: Exception, kernel: str) -> ConstellationError:
    """Return the typed error for a failed call to `kernel`."""
    if not isinstance(error, grpc.aio.AioRpcError):
        assert isinstance(error, ConstellationError)
        return error
    typed = error_status.from_rpc_error(
        error, endpoint=kernel, limit_bytes=channel.MESSAGE_BYTES_MAX
    )
    # A channel closed under a call (its kernel moved) looks like a cancellation of ours.
    is_lost = isinstance(typed, ServiceUnavailable | Cancelled)
    if is_lost or error.details() == _BROKEN_WHILE_WRITING:
        return KernelUnavailable(kernel, "its process was lost")
    return typed
