"""The way of one answer: decide on a kernel, call it, and let another go on when it is lost.

Kernels are called over gRPC and their replies forwarded as bytes. A kernel that is lost before it
wrote anything is replaced by the next nearest. One that is lost later is, too: the next goes on
after the tokens that arrived (`constellation/runtime/continuation.py`). In the same way an answer
that has moved into another kernel's domain is handed over, where the request allows it.
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
from actors.router.query_reader import Query
from constellation.errors import InvalidPrompt, KernelUnavailable, Overloaded, UnknownSymbol
from constellation.records import (
    Message,
    Mode,
    Route,
    RoutingOptions,
    Sampling,
    Score,
    TokenArray,
)
from constellation.routing.handoff import HandoffRule, HandoffWatch
from constellation.runtime.continuation import Relay
from constellation.telemetry.metrics import RouterMetrics
from constellation.v1 import common_pb2, kernel_pb2
from constellation.wire import convert, request_tracing
from constellation.wire.ensembles import Ensemble, ensemble_to_message
from constellation.wire.request_tracing import Span

logger = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")

_CANNOT_GO_ON = (KernelUnavailable, Overloaded, InvalidPrompt, UnknownSymbol)
"""A kernel is lost, has no slot free, its context is too short for what was written, or its
vocabulary lacks a symbol of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What somebody wants to have written."""

    query: Query
    options: RoutingOptions
    deadline_s: float
    """When it must be over, on the clock of `time.monotonic`."""
    sampling: Sampling = field(default_factory=Sampling)
    client: str = ""
    """Who, for kernels whose clients take turns."""
    span: Span | None = None
    """Of the request; None without tracing."""
    messages: Sequence[Message] = ()
    """The conversation that the prompt was made of; empty for other prompts."""

    @property
    def is_pinned(self) -> bool:
        """Whether only one kernel may answer."""
        return self.options.kernel is not None

    @property
    def may_move(self) -> bool:
        """Whether the answer may be handed over while nobody is lost."""
        options = self.options
        return options.handoff and options.mode is Mode.NEAREST and not self.is_pinned

    def request(
        self,
        kernel: str,
        produced: Collection[int],
        ensemble: Ensemble | None,
        num_produced: int | None = None,
    ) -> kernel_pb2.KernelGenerateRequest:
        """Return what a kernel is asked.

        Args:
            kernel: Its name.
            produced: What is written already, in the coordizer's tokens.
            ensemble: Who writes with it.
            num_produced: Tokens that it took to write that; None: as many.
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
class _Course:
    """One answer under way."""

    asked: Asked
    watch: HandoffWatch | None = None
    route: Route | None = None
    """The latest decision; None before the first."""
    relay: Relay = field(default_factory=Relay)
    lost: dict[str, KernelLink | None] = field(default_factory=dict)
    """Kernels that cannot go on, and the ways that led to them; None: there was none."""
    target: str | None = None
    """The kernel that the answer is being handed to."""
    is_over: bool = False


class _Try:
    """One call of a kernel: a part of the request's span, where there is one."""

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


_UNTRACED = _Try(None, "")


def _try(request: Span | None, kernel: str) -> _Try:
    if request is None:
        return _UNTRACED
    facts = {"constellation.kernel": kernel, "rpc.system": "grpc"}
    return _Try(request.child("kernel", facts, is_call=True), kernel)


class Answering:
    """Has kernels answer.

    Args:
        links: The ways to them.
        encode: Makes the coordizer's tokens of a text that was written in others.
        decide: Returns the route of a query when these kernels are left out.
        lead: Returns the kernel that is nearest to where an answer is, and by how many radians it
            is nearer than the one that writes; takes the query, the tokens written, the name of
            the one that writes, the options and the kernels left out.
        gather: Returns who answers together by a route; None when one kernel does.
        note: Is told the route by which a query is answered.
        metrics: Where losses and handoffs are counted.
        handoff: When answers are handed over, where requests allow it.
    """

    def __init__(
        self,
        links: KernelLinks,
        *,
        encode: Callable[[str], TokenArray],
        decide: Callable[[Query, RoutingOptions, set[str]], Route],
        lead: Callable[[Query, list[int], str, RoutingOptions, set[str]], tuple[str, float]],
        gather: Callable[[Route, RoutingOptions], Ensemble | None],
        note: Callable[[Route, Query], None],
        metrics: RouterMetrics,
        handoff: HandoffRule,
    ) -> None:
        self._links = links
        self._encode = encode
        self._decide = decide
        self._lead = lead
        self._gather = gather
        self._note = note
        self._metrics = metrics
        self._handoff = handoff

    async def generate(self, asked: Asked) -> AsyncGenerator[tuple[Route | None, bytes], None]:
        """Answer: pairs of the route (first only) and a serialised KernelGenerateReply."""
        course = _Course(asked, HandoffWatch(self._handoff) if asked.may_move else None)
        while not course.is_over:
            kernel = self._next(course)
            async with aclosing(self._replies(course, kernel)) as replies:
                async for reply in replies:
                    route = None if course.relay.started else course.route
                    if route is not None:
                        self._note(route, asked.query)
                    yield route, self._noted(course, reply)
                    if self._hands_over(course, kernel):
                        break

    async def ask(self, asked: Asked) -> tuple[Route, bytes]:
        """Answer at once: the route and a serialised KernelGenerateReply."""
        if asked.may_move:
            return await self._gathered(asked)
        return await self._first_that_answers(
            asked,
            lambda route, link, span: link.ask(
                asked.request(route.kernel, (), self._gather(route, asked.options)),
                asked.deadline_s - time.monotonic(),
                span,
            ),
        )

    async def score(
        self, asked: Asked, context: list[int], tokens: list[int]
    ) -> tuple[Route, Score]:
        """Say how likely `tokens` are after `context`."""

        def request(route: Route) -> kernel_pb2.KernelScoreRequest:
            ensemble = self._gather(route, asked.options)
            return kernel_pb2.KernelScoreRequest(
                kernel=route.kernel,
                ensemble=None if ensemble is None else ensemble_to_message(ensemble),
                tokens=[*context, *tokens],
                num_context=len(context),
                client=asked.client,
            )

        return await self._first_that_answers(
            asked,
            lambda route, link, span: link.score(
                request(route), asked.deadline_s - time.monotonic(), span
            ),
        )

    async def _gathered(self, asked: Asked) -> tuple[Route, bytes]:
        """Return what `generate` gives, as one reply."""
        async with aclosing(self.generate(asked)) as answer:
            pairs = [pair async for pair in answer]
        route = pairs[0][0]
        assert route is not None
        pieces = [convert.piece_from_bytes(reply) for _, reply in pairs]
        return route, convert.piece_to_message(convert.join_pieces(pieces)).SerializeToString()

    async def _first_that_answers(
        self,
        asked: Asked,
        call: Callable[[Route, KernelLink, Span | None], Awaitable[ResultT]],
    ) -> tuple[Route, ResultT]:
        """Call the nearest kernel; when it is lost, the next; nothing was said meanwhile."""
        course = _Course(asked)
        while True:
            kernel, link = self._next(course), None
            assert course.route is not None
            try:
                link = self._links.to(kernel)
                with self._links.counted(kernel), _try(asked.span, kernel) as span:
                    result = await call(course.route, link, span)
            except (grpc.aio.AioRpcError, KernelUnavailable) as error:
                self._judge(error, course, kernel, link)
            else:
                self._note(course.route, asked.query)
                return course.route, result

    def _next(self, course: _Course) -> str:
        """Decide who writes from here on."""
        asked, relay = course.asked, course.relay
        if course.target is not None:
            kernel, reason, course.target = course.target, "handoff", None
        else:
            route = request_tracing.during(
                asked.span,
                "route",
                lambda: self._decide(asked.query, asked.options, self._left_out(course)),
                request_tracing.route_facts,
            )
            kernel, reason = route.kernel, "failover" if relay.started else route.reason
            course.route = route
        assert course.route is not None
        ensemble = self._gather(course.route, asked.options)
        relay.begin(kernel, reason, None if ensemble is None else ensemble.weights)
        return kernel

    def _left_out(self, course: _Course) -> set[str]:
        """Return the kernels that cannot go on; one that has come back since can."""
        return {name for name, link in course.lost.items() if self._links.get(name) is link}

    async def _replies(self, course: _Course, kernel: str) -> AsyncGenerator[bytes, None]:
        """Forward a kernel's replies; end early when another kernel should go on."""
        link, call = None, None
        try:
            link = self._links.to(kernel)
            asked = course.asked
            assert course.route is not None
            ensemble = self._gather(course.route, asked.options)
            relay = course.relay
            counted = None if relay.has_ids else relay.num_tokens
            request = asked.request(kernel, self._written(relay), ensemble, counted)
            with self._links.counted(kernel), _try(asked.span, kernel) as span:
                call = link.generate(request, asked.deadline_s - time.monotonic(), span)
                async for reply in call:
                    yield reply
            if not course.is_over:
                raise KernelUnavailable(kernel, "its answer stopped before the end")
        except (grpc.aio.AioRpcError, KernelUnavailable) as error:
            if not course.is_over:
                self._judge(error, course, kernel, link)
        finally:
            if call is not None:
                call.cancel()

    def _noted(self, course: _Course, reply: bytes) -> bytes:
        """Take note of a reply; return it, the last one with who wrote what."""
        message = kernel_pb2.KernelGenerateReply.FromString(reply)
        course.relay.note(message.text, message.tokens, message.num_tokens)
        course.is_over = message.HasField("finish")
        if course.is_over and course.relay.segments:
            reply += convert.segments_to_message(course.relay.segments).SerializeToString()
        return reply

    def _written(self, relay: Relay) -> list[int]:
        """Return what was written, in the coordizer's tokens."""
        return relay.produced if relay.has_ids else self._encode(relay.text).tolist()

    def _hands_over(self, course: _Course, kernel: str) -> bool:
        """Say whether the answer is to leave `kernel` for one that has become nearer."""
        watch, relay, asked = course.watch, course.relay, course.asked
        num_written = relay.num_tokens
        if watch is None or course.is_over or not watch.is_due(num_written):
            return False
        nearest, lead = self._lead(
            asked.query, self._written(relay), kernel, asked.options, self._left_out(course)
        )
        course.target = watch.look(num_written, nearest, lead)
        if course.target is None:
            return False
        self._metrics.handoffs.labels(kernel, course.target).inc()
        facts: dict[str, request_tracing.Fact] = {
            "source": kernel,
            "target": course.target,
            "lead": lead,
            "tokens": num_written,
        }
        logger.info("answer handed over", extra=facts)
        if asked.span is not None:
            asked.span.event("handoff", facts)
        return True

    def _judge(
        self, error: Exception, course: _Course, kernel: str, link: KernelLink | None
    ) -> None:
        """Raise what the caller must hear; return when another kernel may go on."""
        typed, relay = typed_loss(error, kernel), course.relay
        # An answer under way is worth more than the first word of one: it goes on wherever it can.
        passing = _CANNOT_GO_ON if relay.started else KernelUnavailable
        if not isinstance(typed, passing):
            raise typed from error
        facts = {"kernel": kernel, "tokens": relay.num_tokens, "why": str(typed)}
        logger.warning("kernel lost", extra=facts)
        if course.asked.is_pinned:
            raise typed from error
        partner = getattr(typed, "kernel", kernel)
        if partner != kernel and course.route is not None and partner in course.route.kernels:
            kernel, link = partner, self._links.get(partner)
        course.lost[kernel] = link
        self._metrics.failovers.labels(kernel).inc()
        if course.asked.span is not None:
            tokens = relay.num_tokens
            course.asked.span.event("failover", {"kernel": kernel, "tokens": tokens})
