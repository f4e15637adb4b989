"""ConstellationService: protobuf on the outside, records on the inside."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from constellation.records import (
    Change,
    Changed,
    FloatArray,
    KernelHealth,
    LiveCollectivePhi,
    Message,
    Route,
    RoutingOptions,
    Rule,
    Sampling,
    Score,
    Table,
    TokenArray,
)
from constellation.v1 import constellation_pb2, kernel_pb2
from constellation.wire import access_log, change_messages, convert, request_tracing
from constellation.wire.callers import Caller, client_of, grpc_caller
from constellation.wire.descriptions import declare
from constellation.wire.services import write
from constellation.wire.table_file import pack_table


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterHealth:
    """One router as the registry sees it."""

    name: str
    endpoint: str
    """host:port for clients, also while it is down."""
    up: bool
    pid: int
    """0 while it is down."""
    num_restarts: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterState:
    """What a router says of itself and of its kernels."""

    table: Table
    health: dict[str, KernelHealth]
    num_routed: dict[str, int]
    pid: int
    uptime_s: float
    load_entropy_ratio: float
    num_unexpected_errors: int
    registry_pid: int
    routers: tuple[RouterHealth, ...] = ()
    """All routers, this one too; empty before the registry has told of them."""
    collective_phi: LiveCollectivePhi | None = None
    """What it measured of its kernels together; None when it does not."""
    start_problem: str = ""
    """What is wrong with how processes are started; empty when nothing is."""
    rule: Rule = Rule.BEARING
    """How it compares basins when a query does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingTerms:
    """What a router routes by, apart from its coordizer."""

    table: Table
    rule: Rule
    top_k: int
    phi_weighting: bool


class RouterPort(Protocol):
    """What a router host offers to its servicer."""

    def generate(
        self,
        prompt: str,
        sampling: Sampling,
        options: RoutingOptions,
        *,
        timeout_s: float | None,
        caller: Caller,
        messages: Sequence[Message] = (),
    ) -> AsyncGenerator[tuple[Route | None, bytes], None]:
        """Answer: pairs of the route (first only) and a serialised KernelGenerateReply.

        A kernel with a prompt format of its own reads the conversation in `messages` in place of
        the prompt; the route is the prompt's.
        """
        ...

    async def ask(
        self,
        prompt: str,
        sampling: Sampling,
        options: RoutingOptions,
        *,
        timeout_s: float | None,
        caller: Caller,
        messages: Sequence[Message] = (),
    ) -> tuple[Route, bytes]:
        """Answer at once: the route and a serialised KernelGenerateReply."""
        ...

    async def score(
        self,
        context: str,
        text: str,
        options: RoutingOptions,
        *,
        timeout_s: float | None,
        caller: Caller,
    ) -> tuple[Route, Score]:
        """Say how likely `text` is after `context`."""
        ...

    async def route(self, text: str, options: RoutingOptions) -> tuple[Route, FloatArray]:
        """Return where a text would go and its basin."""
        ...

    async def basin(self, text: str) -> tuple[FloatArray, TokenArray]:
        """Return a text's basin and tokens."""
        ...

    def state(self) -> RouterState:
        """Say what the router knows."""
        ...

    def terms(self) -> RoutingTerms:
        """Say what the router routes by."""
        ...

    async def change(self, change: Change) -> Changed:
        """Change what is served; refused or failed, nothing has changed."""
        ...


class ConstellationServicer:
    """One method per RPC of ConstellationService."""

    def __init__(self, host: RouterPort, *, stall_s: float) -> None:
        self._host = host
        self._stall_s = stall_s

    async def Generate(  # noqa: N802 - named like the RPC
        self, request: constellation_pb2.GenerateRequest, context: Any
    ) -> None:
        """Route a prompt and stream the answer; a stalled reader is cut off."""
        pieces = self._host.generate(
            convert.check_text("prompt", request.prompt),
            convert.sampling_from_message(request.sampling),
            convert.routing_from_message(request.routing),
            timeout_s=context.time_remaining(),
            caller=grpc_caller(context, request, "Generate"),
        )
        access_log.note_prompt(request.prompt)
        reply = b""
        async with aclosing(pieces):
            async for route, reply in pieces:
                if route is not None:
                    _note_route(route)
                await write(context, _with_route(route, reply), stall_s=self._stall_s)
        _note_end(reply)

    async def Ask(  # noqa: N802
        self, request: constellation_pb2.GenerateRequest, context: Any
    ) -> bytes:
        """Route a prompt and send the whole answer."""
        access_log.note_prompt(request.prompt)
        route, reply = await self._host.ask(
            convert.check_text("prompt", request.prompt),
            convert.sampling_from_message(request.sampling),
            convert.routing_from_message(request.routing),
            timeout_s=context.time_remaining(),
            caller=grpc_caller(context, request, "Ask"),
        )
        _note_route(route)
        _note_end(reply)
        return _with_route(route, reply)

    async def Score(  # noqa: N802
        self, request: constellation_pb2.ScoreRequest, context: Any
    ) -> constellation_pb2.ScoreReply:
        """Say how likely a text is under the kernel it routes to."""
        text = convert.check_text("text", request.text)
        route, score = await self._host.score(
            convert.check_text("context", request.context, empty_allowed=True),
            text,
            convert.routing_from_message(request.routing),
            timeout_s=context.time_remaining(),
            caller=Caller(client=client_of(context)),
        )
        _note_route(route)
        access_log.note(tokens=score.num_tokens)
        return constellation_pb2.ScoreReply(
            route=convert.route_to_message(route),
            nats=score.nats,
            num_tokens=score.num_tokens,
            num_bytes=len(text.encode()),
            trace_id=_trace_id(),
        )

    async def Route(  # noqa: N802
        self, request: constellation_pb2.RouteRequest, context: Any
    ) -> constellation_pb2.RouteReply:
        """Say where a query would go, and why."""
        options = convert.routing_from_message(request.routing)
        text = convert.check_text("text", request.text, empty_allowed=options.basin_K is not None)
        route, basin_K = await self._host.route(text, options)
        return constellation_pb2.RouteReply(
            route=convert.route_to_message(route), basin=convert.point_to_message(basin_K)
        )

    async def Basin(  # noqa: N802
        self, request: constellation_pb2.BasinRequest, context: Any
    ) -> constellation_pb2.BasinReply:
        """Turn a text into tokens and a point of the simplex."""
        basin_K, tokens = await self._host.basin(
            convert.check_text("text", request.text, empty_allowed=True)
        )
        return constellation_pb2.BasinReply(
            basin=convert.point_to_message(basin_K),
            tokens=tokens.tolist(),
            coordizer_hash=self._host.state().table.coordizer_hash,
        )

    async def Status(  # noqa: N802
        self, request: constellation_pb2.StatusRequest, context: Any
    ) -> constellation_pb2.StatusReply:
        """List the kernels and what they are doing."""
        return _status_message(self._host.state())

    async def Change(  # noqa: N802
        self, request: constellation_pb2.ChangeRequest, context: Any
    ) -> constellation_pb2.ChangeReply:
        """Change what is served."""
        changed = await self._host.change(change_messages.change_from_message(request))
        return change_messages.changed_to_message(changed)

    async def Table(  # noqa: N802
        self, request: constellation_pb2.TableRequest, context: Any
    ) -> constellation_pb2.TableReply:
        """Hand out what the router routes by."""
        terms = self._host.terms()
        known = request.known_version == terms.table.version
        return constellation_pb2.TableReply(
            version=terms.table.version,
            snapshot=b"" if known else pack_table(terms.table),
            rule=convert.RULE_NUMBER[terms.rule],
            top_k=terms.top_k,
            phi_weighting=terms.phi_weighting,
        )


def _note_route(route: Route) -> None:
    access_log.note_route(route)
    request_tracing.note_route(route)


def _note_end(reply: bytes) -> None:
    """Add the tokens of an answer, which its last reply counts, to its log line and its span."""
    if access_log.wanted() or request_tracing.current() is not None:
        message = kernel_pb2.KernelGenerateReply.FromString(reply)
        if message.HasField("finish"):
            finish = convert.finish_from_message(message.finish)
            access_log.note_finish(finish)
            request_tracing.note_finish(finish)


def _trace_id() -> str:
    span = request_tracing.current()
    return "" if span is None else span.trace_id


def _with_route(route: Route | None, reply: bytes) -> bytes:
    if route is None:
        return reply
    # Protobuf messages merge by concatenation: the kernel's bytes keep their field numbers.
    message = constellation_pb2.GenerateReply(
        route=convert.route_to_message(route), trace_id=_trace_id()
    )
    return bytes(message.SerializeToString()) + reply


def _status_message(state: RouterState) -> constellation_pb2.StatusReply:
    reply = constellation_pb2.StatusReply(
        table_version=state.table.version,
        coordizer_hash=state.table.coordizer_hash,
        router_pid=state.pid,
        load_entropy_ratio=state.load_entropy_ratio,
        num_unexpected_errors=state.num_unexpected_errors,
        registry_pid=state.registry_pid,
        start_problem=state.start_problem,
    )
    reply.uptime.FromNanoseconds(round(state.uptime_s * 1e9))
    if state.collective_phi is not None:
        reply.collective_phi.CopyFrom(convert.collective_phi_to_message(state.collective_phi))
    if state.table.refusal is not None:
        rows = state.table.refusal.at_share(state.rule)
        reply.refusal.extend(map(convert.length_refusal_to_message, rows))
    for router in state.routers:
        reply.routers.add(
            name=router.name,
            endpoint=router.endpoint,
            up=router.up,
            pid=router.pid,
            num_restarts=router.num_restarts,
        )
    for site in state.table.sites:
        health = state.health.get(site.name)
        status = reply.kernels.add(
            name=site.name,
            seat=site.seat,
            endpoint=site.endpoint or "",
            up=site.endpoint is not None,
            pid=health.pid if health else 0,
            num_restarts=health.num_restarts if health else 0,
            num_routed=state.num_routed.get(site.name, 0),
            phi_gauge=site.phi_gauge,
            basin=convert.point_to_message(site.basin_K),
            queue_depth=health.queue_depth if health else 0,
            num_running=health.num_running if health else 0,
            basins=convert.points_to_messages(site.basins_BK),
            arrived=site.arrived,
            num_held_out=site.num_held_out,
            family="" if site.share is None else site.share.family,
        )
        if health is not None:
            declare(status, health.capabilities, health.vocabulary)
    return reply
