"""The router's way to one kernel: a channel, its calls, and what a lost one means."""

from typing import Any

import grpc

from constellation.errors import (
    Cancelled,
    ConstellationError,
    KernelUnavailable,
    ServiceUnavailable,
)
from constellation.records import Score
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
