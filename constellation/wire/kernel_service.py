"""gRPC servicer of KernelService: converts messages to records and calls one kernel (model)."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Protocol

from constellation.errors import InvalidRequest
from constellation.records import (
    FloatArray,
    KernelDescription,
    Message,
    Piece,
    Progress,
    Sampling,
    Score,
)
from constellation.v1 import kernel_pb2
from constellation.wire import convert
from constellation.wire.callers import CLIENT_MAX, client_of
from constellation.wire.descriptions import description_to_message, progress_to_message
from constellation.wire.ensembles import (
    Ensemble,
    Predicting,
    ensemble_from_message,
    predicted_to_message,
)
from constellation.wire.services import write

_DAY_S = 86_400.0


class KernelPort(Protocol):
    """Interface of one kernel that the servicer calls."""

    name: str

    def generate(
        self,
        tokens: Sequence[int],
        sampling: Sampling,
        *,
        produced: Sequence[int] = (),
        num_produced: int | None = None,
        client: str = "",
        messages: Sequence[Message] = (),
    ) -> AsyncGenerator[Piece, None]:
        """Generate the answer to a prompt, continuing tokens that other kernels `produced`.

        The produced tokens count as `num_produced` tokens of the answer; None means their own
        number. A prompt that was made of `messages` is written in the kernel's own prompt format,
        if the kernel has one. Waits in the queue for a free slot.
        """

    async def score(self, tokens: Sequence[int], num_context: int, *, client: str = "") -> Score:
        """Return the likelihood of `tokens[num_context:]` after `tokens[:num_context]`."""

    def predict(
        self, tokens: Sequence[int], *, tokenizer_hash: str, is_scored: bool, client: str
    ) -> AbstractAsyncContextManager[Predicting]:
        """Open a text whose tokens the caller chooses; it occupies a slot until the block ends."""

    @property
    def leader(self) -> "LeaderPort":
        """Writes and scores texts together with other kernels, which this kernel leads."""

    async def token_nats(self, tokens: Sequence[int], *, client: str) -> FloatArray:
        """Return -ln p of each token given the tokens before it."""

    def describe(self) -> KernelDescription:
        """Return the kernel's vocabulary, size, queue and uptime."""


class LeaderPort(Protocol):
    """Interface of the texts that a kernel writes or scores together with others."""

    def generate(
        self,
        tokens: Sequence[int],
        sampling: Sampling,
        ensemble: Ensemble,
        *,
        produced: Sequence[int],
        client: str,
        timeout_s: float,
    ) -> AsyncGenerator[Piece, None]:
        """Generate the answer to a prompt together with the other kernels."""

    async def score(
        self,
        tokens: Sequence[int],
        num_context: int,
        ensemble: Ensemble,
        *,
        client: str,
        timeout_s: float,
    ) -> Score:
        """Return the likelihood of `tokens[num_context:]` under the kernels together."""


class KernelsPort(Protocol):
    """Interface of a process with one or more kernels that the servicer calls."""

    def named(self, kernel: str) -> KernelPort:
        """Look up a kernel by name; "" means the only kernel of the process.

        Raises:
            KernelUnavailable: The process has no kernel of this name.
        """

    def every(self) -> Iterable[KernelPort]:
        """Return all kernels of the process."""

    def progress(self) -> Progress:
        """Return how the steps progress; has a kernel write a token when it wrote none lately."""


class KernelServicer:
    """Servicer with one method per RPC of KernelService."""

    def __init__(self, kernels: KernelsPort, *, stall_s: float) -> None:
        self._kernels = kernels
        self._stall_s = stall_s

    async def Generate(  # noqa: N802 - named like the RPC
        self, request: kernel_pb2.KernelGenerateRequest, context: Any
    ) -> None:
        """Stream the answer to a prompt; a client that stops reading loses its slot.

        A client has stopped reading when it reads nothing for `stall_s` seconds.
        """
        async with aclosing(self._answer(request, context)) as pieces:
            async for piece in pieces:
                await write(context, convert.piece_to_message(piece), stall_s=self._stall_s)

    async def Ask(  # noqa: N802
        self, request: kernel_pb2.KernelGenerateRequest, context: Any
    ) -> kernel_pb2.KernelGenerateReply:
        """Return the whole answer to a prompt in one reply."""
        async with aclosing(self._answer(request, context)) as answer:
            pieces = [piece async for piece in answer]
        return convert.piece_to_message(convert.join_pieces(pieces))

    def _answer(
        self, request: kernel_pb2.KernelGenerateRequest, context: Any
    ) -> AsyncGenerator[Piece, None]:
        sampling = convert.sampling_from_message(request.sampling)
        kernel = self._kernels.named(request.kernel)
        if request.HasField("ensemble"):
            return kernel.leader.generate(
                request.tokens,
                sampling,
                ensemble_from_message(request.ensemble, leader=kernel.name),
                produced=request.produced,
                client=_client(request, context),
                timeout_s=_time_left_s(context),
            )
        return kernel.generate(
            request.tokens,
            sampling,
            produced=request.produced,
            num_produced=request.num_produced or None,
            client=_client(request, context),
            messages=[Message(each.role, each.content) for each in request.messages],
        )

    async def Score(  # noqa: N802
        self, request: kernel_pb2.KernelScoreRequest, context: Any
    ) -> kernel_pb2.KernelScoreReply:
        """Return the likelihood of a text, alone, per token or under an ensemble."""
        kernel = self._kernels.named(request.kernel)
        if request.per_token:
            nats = await kernel.token_nats(request.tokens, client=_client(request, context))
            scored = nats[request.num_context :]
            return kernel_pb2.KernelScoreReply(
                nats=float(scored.sum()), num_tokens=len(scored), token_nats=scored
            )
        if request.HasField("ensemble"):
            score = await kernel.leader.score(
                request.tokens,
                request.num_context,
                ensemble_from_message(request.ensemble, leader=kernel.name),
                client=_client(request, context),
                timeout_s=_time_left_s(context),
            )
        else:
            score = await kernel.score(
                request.tokens, request.num_context, client=_client(request, context)
            )
        return kernel_pb2.KernelScoreReply(nats=score.nats, num_tokens=score.num_tokens)

    async def Predict(  # noqa: N802
        self, requests: AsyncIterator[kernel_pb2.PredictRequest], context: Any
    ) -> None:
        """Stream a prediction after every token that the caller chooses."""
        first = await anext(requests, kernel_pb2.PredictRequest())
        if not first.HasField("start"):
            raise InvalidRequest("start", None, "the start of the text, in the first message")
        start = first.start
        text = self._kernels.named(start.kernel).predict(
            start.tokens,
            tokenizer_hash=start.tokenizer_hash,
            is_scored=start.is_scored,
            client=start.client,
        )
        async with text as predicting:
            reply = kernel_pb2.PredictReply(context=predicting.context)
            while True:
                await write(context, reply, stall_s=self._stall_s)
                if not reply.context:
                    chosen = await anext(requests, None)
                    if chosen is None:
                        return
                    predicting.tell(chosen.token)
                reply = predicted_to_message(await predicting.next())

    async def Describe(  # noqa: N802
        self, request: kernel_pb2.DescribeRequest, context: Any
    ) -> kernel_pb2.DescribeReply:
        """Say what this kernel is."""
        return description_to_message(self._kernels.named(request.kernel).describe())

    async def DescribeAll(  # noqa: N802
        self, request: kernel_pb2.DescribeAllRequest, context: Any
    ) -> kernel_pb2.DescribeAllReply:
        """Say what all kernels of this process are, and whether they write tokens."""
        described = (kernel.describe() for kernel in self._kernels.every())
        return kernel_pb2.DescribeAllReply(
            kernels=[description_to_message(each) for each in described],
            progress=progress_to_message(self._kernels.progress()),
        )


def _time_left_s(context: Any) -> float:
    """Return the seconds until the caller's deadline; a day when the caller set none."""
    left_s: float | None = context.time_remaining()
    return _DAY_S if left_s is None else left_s


def _client(request: Any, context: Any) -> str:
    """Return the client that a router names in the request, or else the client of the call."""
    return request.client[:CLIENT_MAX] or client_of(context)
