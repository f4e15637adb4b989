"""Dispatch of one request: choose a kernel, call it, and fail over to the next when it is lost.

Kernels are called over gRPC and their replies are forwarded as bytes. A process that is lost before
it wrote anything is replaced by another process of the same kernel, or else by the next nearest
kernel. When a process is lost later, its successor continues after the tokens that arrived
(`constellation/runtime/continuation.py`); another process of the same kernel writes exactly what
the lost one would have written. In the same way an answer that has moved into another kernel's
domain is handed over, where the request allows it.
"""

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import TypeVar

import grpc

from actors.kernel_connections import KernelLink, KernelLinks, typed_loss
from actors.router.answer_request import AnswerRequest, Progress
from actors.router.decider import Decider
from constellation.errors import InvalidPrompt, KernelUnavailable, Overloaded, UnknownSymbol
from constellation.records import (
    Route,
    Score,
)
from constellation.routing.handoff import HandoffRule, HandoffWatch
from constellation.runtime.continuation import Relay
from constellation.runtime.traffic_window import TrafficWindow
from constellation.telemetry.metrics import RouterMetrics
from constellation.v1 import kernel_pb2
from constellation.wire import convert, request_tracing
from constellation.wire.ensembles import Ensemble, ensemble_to_message
from constellation.wire.request_tracing import Span

logger = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")

_CANNOT_GO_ON = (KernelUnavailable, Overloaded, InvalidPrompt, UnknownSymbol)
"""A kernel is lost, has no slot free, has a context too short for the tokens so far, or has a
vocabulary that lacks a symbol of the text so far."""


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
        progress = Progress(request, HandoffWatch(self._handoff) if request.may_move else None)
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
            lambda kernel, link, ensemble, span: link.ask(
                request.message(kernel, (), ensemble),
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

        def message(kernel: str, ensemble: Ensemble | None) -> kernel_pb2.KernelScoreRequest:
            return kernel_pb2.KernelScoreRequest(
                kernel=kernel,
                ensemble=None if ensemble is None else ensemble_to_message(ensemble),
                tokens=[*context, *tokens],
                num_context=len(context),
                client=request.client,
            )

        return await self._call_with_failover(
            request,
            lambda kernel, link, ensemble, span: link.score(
                message(kernel, ensemble), request.deadline_s - time.monotonic(), span
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
        call: Callable[[str, KernelLink, Ensemble | None, Span | None], Awaitable[ResultT]],
    ) -> tuple[Route, ResultT]:
        """Call the nearest kernel, and the next nearest when a kernel is lost before it answers."""
        progress = Progress(request)
        while True:
            kernel, link = self._choose_kernel(progress), None
            assert progress.route is not None
            try:
                link = self._links.to(kernel, progress.lost.get(kernel, ()))
                ensemble = self._ensemble(progress)
                called_s = time.monotonic()
                with self._links.counted(kernel, link), _traced_call(request.span, kernel) as span:
                    result = await call(kernel, link, ensemble, span)
                self._observe_answer(kernel, called_s)
            except (grpc.aio.AioRpcError, KernelUnavailable) as error:
                self._fail_over_or_raise(error, progress, kernel, link)
            else:
                self._decider.count(progress.route, request.query)
                return progress.route, result

    def _choose_kernel(self, progress: Progress) -> str:
        """Return the kernel that writes from here on, and note why."""
        request, relay = progress.request, progress.relay
        if progress.again is not None:
            kernel, progress.again = progress.again, None
            return kernel
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

    def _excluded(self, progress: Progress) -> set[str]:
        """Return the kernels that were lost and have not come back since."""
        return {name for name, lost in progress.lost.items() if not self._links.left(name, lost)}

    def _ensemble(self, progress: Progress) -> Ensemble | None:
        """Return the kernels that answer together, each by the process with the fewest requests."""
        assert progress.route is not None
        ensemble = self._decider.ensemble(progress.route, progress.request.options)
        if ensemble is None:
            return None
        names = [member.kernel for member in ensemble.members]
        lost = {name: progress.lost.get(name, ()) for name in names}
        up = [name for name in names if self._links.left(name, lost[name])]
        progress.partners = links = {name: self._links.to(name, lost[name]) for name in up}
        members = tuple(
            replace(member, endpoint=links[member.kernel].endpoint)
            if member.kernel in links
            else member
            for member in ensemble.members
        )
        return replace(ensemble, members=members)

    async def _forward(self, progress: Progress, kernel: str) -> AsyncGenerator[bytes, None]:
        """Yield a kernel's replies; end early when another kernel should go on."""
        link, call = None, None
        try:
            link = self._links.to(kernel, progress.lost.get(kernel, ()))
            request, relay = progress.request, progress.relay
            ensemble = self._ensemble(progress)
            counted = None if relay.has_ids else relay.num_tokens
            message = request.message(kernel, self._written_tokens(relay), ensemble, counted)
            called_s = time.monotonic()
            with self._links.counted(kernel, link), _traced_call(request.span, kernel) as span:
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

    def _record(self, progress: Progress, reply: bytes) -> bytes:
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

    def _should_hand_over(self, progress: Progress, kernel: str) -> bool:
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
        self, error: Exception, progress: Progress, kernel: str, link: KernelLink | None
    ) -> None:
        """Raise the error of a call, unless another process may go on with the answer.

        A process of the same kernel goes on with any answer, processes of other kernels only where
        the request does not name its kernel.
        """
        typed, relay = typed_loss(error, kernel), progress.relay
        is_lost = isinstance(typed, KernelUnavailable)
        failed = self._note_failed(typed, progress, kernel, link)
        if is_lost or isinstance(typed, Overloaded):
            if self._links.left(failed, progress.lost[failed]):
                progress.again = kernel
        else:  # the other processes of the kernel have the same limits
            progress.lost[failed].update(self._links.left(failed, ()))
        # An answer under way is worth more than one that has not begun: it goes on where it can.
        passing = _CANNOT_GO_ON if relay.started else KernelUnavailable
        if progress.again is None and not isinstance(typed, passing):
            raise typed from error
        facts = {"kernel": failed, "tokens": relay.num_tokens, "why": str(typed)}
        logger.warning("kernel lost", extra={**facts, "same_kernel": progress.again is not None})
        if progress.again is None and progress.request.is_pinned:
            raise typed from error
        self._metrics.failovers.labels(failed).inc(is_lost or progress.again is None)
        if progress.request.span is not None:
            progress.request.span.event("failover", {"kernel": failed, "tokens": relay.num_tokens})

    def _note_failed(
        self, error: Exception, progress: Progress, kernel: str, link: KernelLink | None
    ) -> str:
        """Note the process that failed, and return its kernel: the one called, or a partner."""
        partner = getattr(error, "kernel", kernel)
        if partner != kernel and progress.route is not None and partner in progress.route.kernels:
            kernel, link = partner, progress.partners.get(partner)
        progress.lost.setdefault(kernel, set()).add(link)
        return kernel
