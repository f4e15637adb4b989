"""Dispatch of one request: choose a kernel, call it, and fail over to the next when it is lost.

Kernels are called over gRPC and their replies are forwarded as bytes. A kernel that is lost before
it wrote anything is replaced by the next nearest kernel. When a kernel is lost later, the next
nearest continues after the tokens that arrived (`constellation/runtime/continuation.py`). In the
same way an answer that has moved into another kernel's domain is handed over, where the request
allows it.
"""

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

import grpc

from actors.kernel_connections import KernelLink, KernelLinks, typed_loss
from actors.router.decider import Decider
from actors.router.query_reader import Query
from constellation.errors import InvalidPrompt, KernelUnavailable, Overloaded, UnknownSymbol
from constellation.records import (
    Message,
    Mode,
    Route,
    RoutingOptions,
    Sampling,
    Score,
)
from constellation.routing.handoff import HandoffRule, HandoffWatch
from constellation.runtime.continuation import Relay
from constellation.runtime.traffic_window import TrafficWindow
from constellation.telemetry.metrics import RouterMetrics
from constellation.v1 import common_pb2, kernel_pb2
from constellation.wire import convert, request_tracing
from constellation.wire.ensembles import Ensemble, ensemble_to_message
from constellation.wire.request_tracing import Span

logger = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")

_CANNOT_GO_ON = (KernelUnavailable, Overloaded, InvalidPrompt, UnknownSymbol)
"""A kernel is lost, has no slot free, has a context too short for the tokens so far, or has a
vocabulary that lacks a symbol of the text so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRequest:
    """A request to kernels: a query that was read, with sampling, options and deadline."""

    query: Query
    options: RoutingOptions
    deadline_s: float
    """When the answer must be complete, on the clock of `time.monotonic`."""
    sampling: Sampling = field(default_factory=Sampling)
    client: str = ""
    """Who sent the request: kernels serve waiting clients in turns."""
    span: Span | None = None
    """Span of the request; None without tracing."""
    messages: Sequence[Message] = ()
    """The conversation that the prompt was made of; empty for other prompts."""

    @property
    def is_pinned(self) -> bool:
        """Whether the request names the one kernel that may answer."""
        return self.options.kernel is not None

    @property
    def may_move(self) -> bool:
        """Whether the answer may be handed over while its kernel is well."""
        options = self.options
        return options.handoff and options.mode is Mode.NEAREST and not self.is_pinned

    def message(
        self,
        kernel: str,
        produced: Collection[int],
        ensemble: Ensemble | None,
        num_produced: int | None = None,
    ) -> kernel_pb2.KernelGenerateRequest:
        """Return the message by which a kernel is asked to write the rest of the answer.

        Args:
            kernel: Name of the kernel.
            produced: What is written already, in the coordizer's tokens.
            ensemble: The kernels that write together; None when one kernel writes.
            num_produced: Tokens of the answer so far, as the kernels that wrote them counted them;
                None means the length of `produced`.
        """
        return kernel_pb2.KernelGenerateRequest(
            kernel=kernel,
            tokens=self.query.tokens.tolist(),
            sampling=convert.sampling_to_message(self.sampling),
            produced=produced,
            num_produced=num_produced,
            client=self.client,
            ensemble=None if ensemble is None else ensemble_to_message(ensemble),
            messages=[
                common_pb2.RoleMessage(role=each.role, content=each.content)
                for each in self.messages
            ],
        )


@dataclass(slots=True)
class _Progress:
    """State of one answer under way."""

    request: AnswerRequest
    watch: HandoffWatch | None = None
    route: Route | None = None
    """The latest decision; None before the first."""
    relay: Relay = field(default_factory=Relay)
    lost: dict[str, KernelLink | None] = field(default_factory=dict)
    """Kernel that cannot go on -> the link by which it was called; None without a link."""
    target: str | None = None
    """The kernel that the answer is being handed to."""
    is_over: bool = False


class _TracedCall:
    """One call of a kernel as a child of the request's span, if requests are traced."""

    __slots__ = ("_kernel", "_span")

    def __init__(self, span: Span | None, kernel: str) -> None:
        self._span = span
        self._kernel = kernel

    def __enter__(self) -> Span | None:
        return self._span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._span is not None:
            if isinstance(error, grpc.aio.AioRpcError):
                error = typed_loss(error, self._kernel)
            self._span.end(None if isinstance(error, GeneratorExit) else error)


_UNTRACED = _TracedCall(None, "")


def _traced_call(span: Span | None, kernel: str) -> _TracedCall:
    if span is None:
        return _UNTRACED
    facts = {"constellation.kernel": kernel, "rpc.system": "grpc"}
    return _TracedCall(span.child("kernel", facts, is_call=True), kernel)


class Dispatcher:
    """Sends requests to kernels and forwards their replies.

    Args:
        links: Connections to the kernels.
        decider: Decides which kernels answer, and counts what was decided.
        metrics: Where losses and handoffs are counted.
        handoff: When answers are handed over, where requests allow it.
        window: Where the tokens of the last minute are counted.
    """

    def __init__(
        self,
        links: KernelLinks,
        decider: Decider,
        *,
        metrics: RouterMetrics,
        handoff: HandoffRule,
        window: TrafficWindow,
    ) -> None:
        self._links = links
        self._decider = decider
        self._metrics = metrics
        self._handoff = handoff
        self._window = window

    async def generate(
        self, request: AnswerRequest
    ) -> AsyncGenerator[tuple[Route | None, bytes], None]:
        """Stream an answer.

        Yields:
            Pairs of the route, None in all pairs but the first, and a serialised
            KernelGenerateReply.
        """
        progress = _Progress(request, HandoffWatch(self._handoff) if request.may_move else None)
        while not progress.is_over:
            kernel = self._choose_kernel(progress)
            async with aclosing(self._forward(progress, kernel)) as replies:
                async for reply in replies:
                    route = None if progress.relay.started else progress.route
                    if route is not None:
                        self._decider.count(route, request.query)
                    yield route, self._record(progress, reply)
                    if self._should_hand_over(progress, kernel):
                        break

    async def ask(self, request: AnswerRequest) -> tuple[Route, bytes]:
        """Return the route and the whole answer as a serialised KernelGenerateReply."""
        if request.may_move:
            return await self._generate_whole(request)
        route, reply = await self._call_with_failover(
            request,
            lambda route, link, span: link.ask(
                request.message(route.kernel, (), self._decider.ensemble(route, request.options)),
                request.deadline_s - time.monotonic(),
                span,
            ),
        )
        self._count_tokens(kernel_pb2.KernelGenerateReply.FromString(reply))
        return route, reply

    async def score(
        self, request: AnswerRequest, context: list[int], tokens: list[int]
    ) -> tuple[Route, Score]:
        """Return the route, and how likely `tokens` are after `context`."""

        def message(route: Route) -> kernel_pb2.KernelScoreRequest:
            ensemble = self._decider.ensemble(route, request.options)
            return kernel_pb2.KernelScoreRequest(
                kernel=route.kernel,
                ensemble=None if ensemble is None else ensemble_to_message(ensemble),
                tokens=[*context, *tokens],
                num_context=len(context),
                client=request.client,
            )

        return await self._call_with_failover(
            request,
            lambda route, link, span: link.score(
                message(route), request.deadline_s - time.monotonic(), span
            ),
        )

    async def _generate_whole(self, request: AnswerRequest) -> tuple[Route, bytes]:
        """Return what `generate` yields, joined to one reply."""
        async with aclosing(self.generate(request)) as answer:
            pairs = [pair async for pair in answer]
        route = pairs[0][0]
        assert route is not None
        pieces = [convert.piece_from_bytes(reply) for _, reply in pairs]
        return route, convert.piece_to_message(convert.join_pieces(pieces)).SerializeToString()

    async def _call_with_failover(
        self,
        request: AnswerRequest,
        call: Callable[[Route, KernelLink, Span | None], Awaitable[ResultT]],
    ) -> tuple[Route, ResultT]:
        """Call the nearest kernel, and the next nearest when a kernel is lost before it answers."""
        progress = _Progress(request)
        while True:
            kernel, link = self._choose_kernel(progress), None
            assert progress.route is not None
            try:
                link = self._links.to(kernel)
                called_s = time.monotonic()
                with self._links.counted(kernel), _traced_call(request.span, kernel) as span:
                    result = await call(progress.route, link, span)
                self._observe_answer(kernel, called_s)
            except (grpc.aio.AioRpcError, KernelUnavailable) as error:
                self._fail_over_or_raise(error, progress, kernel, link)
            else:
                self._decider.count(progress.route, request.query)
                return progress.route, result

    def _choose_kernel(self, progress: _Progress) -> str:
        """Return the kernel that writes from here on, and note why."""
        request, relay = progress.request, progress.relay
        if progress.target is not None:
            kernel, reason, progress.target = progress.target, "handoff", None
        else:
            route = request_tracing.during(
                request.span,
                "route",
                lambda: self._decider.decide(
                    request.query, request.options, self._excluded(progress)
                ),
                request_tracing.route_facts,
            )
            kernel, reason = route.kernel, "failover" if relay.started else route.reason
            progress.route = route
        assert progress.route is not None
        ensemble = self._decider.ensemble(progress.route, request.options)
        relay.begin(kernel, reason, None if ensemble is None else ensemble.weights)
        return kernel

    def _excluded(self, progress: _Progress) -> set[str]:
        """Return the kernels that were lost and have not come back since."""
        return {name for name, link in progress.lost.items() if self._links.get(name) is link}

    async def _forward(self, progress: _Progress, kernel: str) -> AsyncGenerator[bytes, None]:
        """Yield a kernel's replies; end early when another kernel should go on."""
        link, call = None, None
        try:
            link = self._links.to(kernel)
            request = progress.request
            assert progress.route is not None
            ensemble = self._decider.ensemble(progress.route, request.options)
            relay = progress.relay
            counted = None if relay.has_ids else relay.num_tokens
            message = request.message(kernel, self._written_tokens(relay), ensemble, counted)
            called_s = time.monotonic()
            with self._links.counted(kernel), _traced_call(request.span, kernel) as span:
                call = link.generate(message, request.deadline_s - time.monotonic(), span)
                async for reply in call:
                    yield reply
            if not progress.is_over:
                raise KernelUnavailable(kernel, "its answer stopped before the end")
            self._observe_answer(kernel, called_s)
        except (grpc.aio.AioRpcError, KernelUnavailable) as error:
            if not progress.is_over:
                self._fail_over_or_raise(error, progress, kernel, link)
        finally:
            if call is not None:
                call.cancel()

    def _observe_answer(self, kernel: str, called_s: float) -> None:
        self._metrics.answer_seconds.labels(kernel).observe(time.monotonic() - called_s)

    def _record(self, progress: _Progress, reply: bytes) -> bytes:
        """Record a reply; return the reply, the last one with the segments of all kernels."""
        message = kernel_pb2.KernelGenerateReply.FromString(reply)
        self._count_tokens(message)
        progress.relay.note(message.text, message.tokens, message.num_tokens)
        progress.is_over = message.HasField("finish")
        if progress.is_over and progress.relay.segments:
            reply += convert.segments_to_message(progress.relay.segments).SerializeToString()
        return reply

    def _count_tokens(self, message: kernel_pb2.KernelGenerateReply) -> None:
        self._window.wrote(message.num_tokens, now_s=time.monotonic())

    def _written_tokens(self, relay: Relay) -> list[int]:
        """Return the answer so far, in the coordizer's tokens."""
        return relay.produced if relay.has_ids else self._decider.encode(relay.text).tolist()

    def _should_hand_over(self, progress: _Progress, kernel: str) -> bool:
        """Return whether the answer is to be handed over to a kernel that has become nearer."""
        watch, relay, request = progress.watch, progress.relay, progress.request
        num_written = relay.num_tokens
        if watch is None or progress.is_over or not watch.is_due(num_written):
            return False
        nearest, lead = self._decider.nearest_to_answer(
            request.query,
            self._written_tokens(relay),
            kernel,
            request.options,
            self._excluded(progress),
        )
        progress.target = watch.check(num_written, nearest, lead)
        if progress.target is None:
            return False
        self._metrics.handoffs.labels(kernel).inc()
        facts: dict[str, request_tracing.Fact] = {
            "source": kernel,
            "target": progress.target,
            "lead": lead,
            "tokens": num_written,
        }
        logger.info("answer handed over", extra=facts)
        if request.span is not None:
            request.span.event("handoff", facts)
        return True

    def _fail_over_or_raise(
        self, error: Exception, progress: _Progress, kernel: str, link: KernelLink | None
    ) -> None:
        """Raise the error of a call, unless another kernel may go on with the answer."""
        typed, relay = typed_loss(error, kernel), progress.relay
        # An answer under way is worth more than one that has not begun: it goes on where it can.
        passing = _CANNOT_GO_ON if relay.started else KernelUnavailable
        if not isinstance(typed, passing):
            raise typed from error
        facts = {"kernel": kernel, "tokens": relay.num_tokens, "why": str(typed)}
        logger.warning("kernel lost", extra=facts)
        if progress.request.is_pinned:
            raise typed from error
        partner = getattr(typed, "kernel", kernel)
        if partner != kernel and progress.route is not None and partner in progress.route.kernels:
            kernel, link = partner, self._links.get(partner)
        progress.lost[kernel] = link
        self._metrics.failovers.labels(kernel).inc()
        if progress.request.span is not None:
            tokens = relay.num_tokens
            progress.request.span.event("failover", {"kernel": kernel, "tokens": tokens})
