"""The router's ways to the kernels: channels, their calls, and what a lost one means."""

import asyncio
from typing import Any

import grpc

from constellation.errors import (
    Cancelled,
    ConstellationError,
    KernelUnavailable,
    ServiceUnavailable,
)
from constellation.records import Score, Table
from constellation.wire import channel, services, status


class KernelLink:
    """The way to one kernel at one endpoint."""

    def __init__(self, endpoint: str, token: str | None) -> None:
        self.endpoint = endpoint
        self._channel = grpc.aio.insecure_channel(endpoint, options=channel.CHANNEL_OPTIONS)
        self._metadata = channel.credentials(token)
        self._raw = services.Stub(self._channel, services.KERNEL, raw_replies=True)
        self._stub = services.Stub(self._channel, services.KERNEL)

    def generate(self, request: Any, timeout_s: float) -> Any:
        """Start an answer; replies come as bytes."""
        return self._raw.Generate(request, timeout=timeout_s, metadata=self._metadata)

    async def ask(self, request: Any, timeout_s: float) -> bytes:
        """Ask for a whole answer, as bytes."""
        call = self._raw.Ask(request, timeout=timeout_s, metadata=self._metadata)
        reply: bytes = await call
        return reply

    async def score(self, request: Any, timeout_s: float) -> Score:
        """Ask how likely a text is."""
        reply = await self._stub.Score(request, timeout=timeout_s, metadata=self._metadata)
        return Score(nats=reply.nats, num_tokens=reply.num_tokens)

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
        self._closing: set[asyncio.Task[None]] = set()
        self.down: frozenset[str] = frozenset()
        """Kernels of the table that nobody can reach now."""

    def follow(self, table: Table) -> None:
        """Open the ways that are new and close those that lead nowhere any more."""
        old = self._links
        self._links = {
            site.name: old[site.name]
            if site.name in old and old[site.name].endpoint == site.endpoint
            else KernelLink(site.endpoint, self._token)
            for site in table.sites
            if site.endpoint is not None
        }
        self.down = frozenset(site.name for site in table.sites if site.endpoint is None)
        kept = set(self._links.values())
        for link in old.values():
            if link not in kept:
                # Calls under way finish, or fail by themselves when the kernel is gone.
                closing = asyncio.create_task(link.close(grace_s=self._grace_s))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    def to(self, kernel: str) -> KernelLink:
        """Return the way to a kernel.

        Raises:
            KernelUnavailable: It is down.
        """
        if kernel not in self._links:
            raise KernelUnavailable(kernel, "its process is restarting")
        return self._links[kernel]

    async def close(self) -> None:
        """Close all, at once."""
        for link in self._links.values():
            await link.close(grace_s=None)


def typed_loss(error: Exception, kernel: str) -> ConstellationError:
    """Return the error of ours that a failed call to `kernel` stands for."""
    if not isinstance(error, grpc.aio.AioRpcError):
        assert isinstance(error, ConstellationError)
        return error
    typed = status.from_rpc_error(error, endpoint=kernel, limit_bytes=channel.MESSAGE_BYTES_MAX)
    # A channel closed under a call (its kernel moved) looks like a cancellation of ours.
    if isinstance(typed, ServiceUnavailable | Cancelled):
        return KernelUnavailable(kernel, "its process was lost")
    return typed
