"""Texts whose tokens somebody else chooses: in this kernel's batch, or in another's over gRPC.

Both are a `Predicting`, so that who leads an ensemble asks all its kernels alike.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc

from actors.kernel.step_loop import Reading, Stepping
from actors.kernel_connections import KernelLink, read, typed_loss
from constellation.errors import KernelUnavailable
from constellation.records import FloatArray
from constellation.v1 import kernel_pb2
from constellation.wire import request_tracing
from constellation.wire.ensembles import (
    MEMBERS_MAX,
    Member,
    Predicted,
    Predicting,
    predicted_from_message,
)
from constellation.wire.tls import ClientTls


class LocalText:
    """A text in this kernel's batch. It rests there until it is told its next token.

    `note` is called for every token that is read.
    """

    def __init__(self, stepping: Stepping, reading: Reading, note: Callable[[], None]) -> None:
        self.context = stepping.engine.context
        self._stepping = stepping
        self._reading = reading
        self._note = note

    async def next(self) -> Predicted:
        """Return what may come after all it was told."""
        step = await self._stepping.next(self._reading)
        assert step.predicted is not None
        return step.predicted

    def tell(self, token: int) -> None:
        """Say which token was chosen; raises what the engine raises."""
        self._stepping.tell(self._reading, token)
        self._note()


class RemoteText:
    """A text in another kernel's batch, over `call`, the stream of its RPC Predict."""

    def __init__(self, kernel: str, call: Any, *, context: int, vocab_size: int) -> None:
        self.context = context
        self._kernel = kernel
        self._call = call
        self._vocab_size = vocab_size
        self._told: int | None = None

    async def next(self) -> Predicted:
        """Return what may come after all it was told.

        Raises:
            KernelUnavailable: The kernel was lost.
        """
        if self._told is not None:
            await send(self._call, kernel_pb2.PredictRequest(token=self._told))
            self._told = None
        reply = await receive(self._call, self._kernel)
        return predicted_from_message(reply, vocab_size=self._vocab_size)

    def tell(self, token: int) -> None:
        """Say which token was chosen; it is sent with the next question."""
        self._told = token


async def send(call: Any, request: kernel_pb2.PredictRequest) -> None:
    """Send a message; what is wrong with the call is heard when its reply is read."""
    with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
        await call.write(request)


async def receive(call: Any, kernel: str) -> kernel_pb2.PredictReply:
    """Return the next reply, or raise the error of ours that stands for its loss."""
    try:
        reply = await read(call, kernel)
    except grpc.aio.AioRpcError as error:
        raise typed_loss(error, kernel) from error
    if reply is grpc.aio.EOF:
        raise KernelUnavailable(kernel, "it ended a prediction by itself")
    assert isinstance(reply, kernel_pb2.PredictReply)
    return reply


class Partners:
    """The ways to the kernels that one leads, opened when they are first needed."""

    def __init__(self, token: str | None, tls: ClientTls | None = None) -> None:
        self._token = token
        self._tls = tls
        self._links: dict[str, KernelLink] = {}

    async def to(self, member: Member) -> KernelLink:
        """Return the way to a member's process; a process serves the members that name it."""
        link = self._links.pop(member.endpoint, None)
        if link is None:
            link = KernelLink(member.endpoint, self._token, self._tls)
        self._links[member.endpoint] = link  # the latest last
        if len(self._links) > MEMBERS_MAX:
            oldest = self._links.pop(next(iter(self._links)))
            await oldest.close(grace_s=None)
        return link

    async def token_nats(
        self, member: Member, tokens: Sequence[int], *, client: str, timeout_s: float
    ) -> FloatArray:
        """Return -ln p of each token under a member.

        Raises:
            KernelUnavailable: It was lost.
        """
        request = kernel_pb2.KernelScoreRequest(
            tokens=tokens, kernel=member.kernel, client=client, per_token=True
        )
        try:
            link = await self.to(member)
            return await link.token_nats(request, timeout_s, request_tracing.current())
        except grpc.aio.AioRpcError as error:
            raise typed_loss(error, member.kernel) from error

    async def close(self) -> None:
        """Close all, at once."""
        links, self._links = list(self._links.values()), {}
        for link in links:
            await link.close(grace_s=None)

    @asynccontextmanager
    async def predict(
        self,
        member: Member,
        tokens: Sequence[int],
        *,
        tokenizer_hash: str,
        vocab_size: int,
        is_scored: bool,
        client: str,
        timeout_s: float,
    ) -> AsyncIterator[Predicting]:
        """Let a text into a member's batch; it keeps its slot there until it is left.

        Raises:
            KernelUnavailable: The kernel cannot be reached.
            IncompatibleKernels: It speaks another vocabulary.
            Overloaded: Its queue is full.
        """
        start = kernel_pb2.PredictStart(
            kernel=member.kernel,
            tokens=tokens,
            tokenizer_hash=tokenizer_hash,
            is_scored=is_scored,
            client=client,
        )
        call = (await self.to(member)).predict(timeout_s, request_tracing.current())
        try:
            await send(call, kernel_pb2.PredictRequest(start=start))
            joined = await receive(call, member.kernel)
            yield RemoteText(member.kernel, call, context=joined.context, vocab_size=vocab_size)
        finally:
            call.cancel()
