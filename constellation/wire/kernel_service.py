"""KernelService: protobuf on the outside, records on the inside."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from constellation.records import KernelDescription, Piece, Sampling, Score, join_pieces
from constellation.v1 import kernel_pb2
from constellation.wire import convert
from constellation.wire.services import write


class KernelPort(Protocol):
    """What a kernel host offers to its servicer."""

    def generate(self, tokens: Sequence[int], sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """Continue a prompt."""
        ...

    async def score(self, tokens: Sequence[int], num_context: int) -> Score:
        """Say how likely `tokens[num_context:]` is after `tokens[:num_context]`."""
        ...

    def describe(self) -> KernelDescription:
        """Say what the kernel is and how busy."""
        ...


class KernelServicer:
    """One method per RPC of KernelService."""

    def __init__(self, host: KernelPort, *, stall_s: float) -> None:
        self._host = host
        self._stall_s = stall_s

    async def Generate(  # noqa: N802 - named like the RPC
        self, request: kernel_pb2.KernelGenerateRequest, context: Any
    ) -> None:
        """Continue a prompt; a reader that stands still for `stall_s` loses its slot."""
        sampling = convert.sampling_from_message(request.sampling)
        async with aclosing(self._host.generate(request.tokens, sampling)) as pieces:
            async for piece in pieces:
                await write(context, convert.piece_to_message(piece), stall_s=self._stall_s)

    async def Ask(  # noqa: N802
        self, request: kernel_pb2.KernelGenerateRequest, context: Any
    ) -> kernel_pb2.KernelGenerateReply:
        """Continue a prompt and say it all at once."""
        sampling = convert.sampling_from_message(request.sampling)
        async with aclosing(self._host.generate(request.tokens, sampling)) as answer:
            pieces = [piece async for piece in answer]
        return convert.piece_to_message(join_pieces(pieces))

    async def Score(  # noqa: N802
        self, request: kernel_pb2.KernelScoreRequest, context: Any
    ) -> kernel_pb2.KernelScoreReply:
        """Say how likely a text is."""
        score = await self._host.score(request.tokens, request.num_context)
        return kernel_pb2.KernelScoreReply(nats=score.nats, num_tokens=score.num_tokens)

    async def Describe(  # noqa: N802
        self, request: kernel_pb2.DescribeRequest, context: Any
    ) -> kernel_pb2.DescribeReply:
        """Say what this kernel is."""
        return convert.description_to_message(self._host.describe())
