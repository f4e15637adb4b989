"""gRPC servicer of ConstellationService: converts messages to records and calls the router."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from constellation.records import (
    COORDIZER_TOKENS,
    EVERYTHING,
    Change,
    Changed,
    FloatArray,
    KernelHealth,
    KernelSite,
    LiveCollectivePhi,
    Message,
    Overview,
    RecentRoute,
    Route,
    RouterStatus,
    RoutingOptions,
    Rule,
    Sampling,
    Score,
    Table,
    TokenArray,
    Traffic,
)
from constellation.v1 import constellation_pb2, kernel_pb2
from constellation.wire import (
    access_log,
    change_messages,
    convert,
    overview_messages,
    request_tracing,
)
from constellation.wire.callers import Caller, client_of, grpc_caller
from constellation.wire.descriptions import declarations
from constellation.wire.record_messages import to_message
from constellation.wire.services import write
from constellation.wire.table_file import pack_table


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterState:
    """A router's report for `Status`: table, health of kernels, counts, and other routers."""

    table: Table
    health: dict[str, KernelHealth]
    num_routed: dict[str, int]
    pid: int
    uptime_s: float
    load_entropy_ratio: float
    num_unexpected_errors: int
    registry_pid: int
    routers: tuple[RouterStatus, ...] = ()
    """Health of all routers including this one; empty before the registry has sent it."""
    collective_phi: LiveCollectivePhi | None = None
    """Collective Phi of the router's sampled prompts; None when it is not measured."""
    start_problem: str = ""
    """Problem with starting processes, in words; empty without a problem."""
    rule: Rule = Rule.BEARING
    """Rule by which the router compares basins unless a request names another."""
    name: str = ""
    """The router's own name."""
    time_s: float = 0.0
    """When all of this was so, seconds since the epoch."""
    traffic: Traffic = field(default_factory=Traffic)
    """Requests of this router in the last minute."""
    recent: tuple[RecentRoute, ...] = ()
    """The router's latest routes, newest first."""
    overview: Overview = field(default_factory=Overview)
    """What the registry knows beside members: releases, nodes, training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingTerms:
    """All that decides a router's routes, except its coordizer: table and settings."""

    table: Table
    rule: Rule
    top_k: int
    phi_weighting: bool


class RouterPort(Protocol):
    """Interface of a router that the servicer calls."""

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
        """Stream pairs of the route (in the first pair) and a serialised KernelGenerateReply.

        A kernel with a prompt format of its own reads the conversation in `messages` in place of
        the prompt; the prompt decides the route.
        """

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
        """Return a whole answer: its route and a serialised KernelGenerateReply."""

    async def score(
        self,
        context: str,
        text: str,
        options: RoutingOptions,
        *,
        timeout_s: float | None,
        caller: Caller,
    ) -> tuple[Route, Score]:
        """Return the route of a text, and its likelihood after `context`."""

    async def route(self, text: str, options: RoutingOptions) -> tuple[Route, FloatArray]:
        """Return the route of a text, and its basin."""

    async def basin(self, text: str) -> tuple[FloatArray, TokenArray]:
        """Return a text's basin and tokens."""

    def state(self) -> RouterState:
        """Return the router's report on table, kernels and routers."""

    def terms(self) -> RoutingTerms:
        """Return the table and the settings by which the router decides."""

    async def change(self, change: Change) -> Changed:
        """Change what is served; after an error nothing has changed."""


class ConstellationServicer:
    """Servicer with one method per RPC of ConstellationService."""

    def __init__(self, host: RouterPort, *, stall_s: float) -> None:
        self._host = host
        self._stall_s = stall_s

    async def Generate(  # noqa: N802 - named like the RPC
        self, request: constellation_pb2.GenerateRequest, context: Any
    ) -> None:
        """Route a prompt and stream the answer; a client that stops reading is cancelled."""
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
        """Route a prompt and return the whole answer."""
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
        """Return the likelihood of a text under the kernel that it is routed to."""
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
        """Return the route of a text, with its reasons, without answering."""
        options = convert.routing_from_message(request.routing)
        text = convert.check_text("text", request.text, empty_allowed=options.basin_K is not None)
        route, basin_K = await self._host.route(text, options)
        return constellation_pb2.RouteReply(
            route=convert.route_to_message(route), basin=convert.point_to_message(basin_K)
        )

    async def Basin(  # noqa: N802
        self, request: constellation_pb2.BasinRequest, context: Any
    ) -> constellation_pb2.BasinReply:
        """Return the tokens of a text, and its basin (point of the simplex)."""
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
        """Return the state of kernels and routers."""
        return status_message(self._host.state())

    async def Change(  # noqa: N802
        self, request: constellation_pb2.ChangeRequest, context: Any
    ) -> constellation_pb2.ChangeReply:
        """Add, remove or change served kernels."""
        changed = await self._host.change(change_messages.change_from_message(request))
        return to_message(constellation_pb2.ChangeReply, changed)

    async def Table(  # noqa: N802
        self, request: constellation_pb2.TableRequest, context: Any
    ) -> constellation_pb2.TableReply:
        """Return the routing table and the settings by which the router decides."""
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
    """Add an answer's numbers of tokens, from its last reply, to the access log and the trace."""
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


def status_message(state: RouterState) -> constellation_pb2.StatusReply:
    """Return what a router knows as a message."""
    found, refusal = state.collective_phi, state.table.refusal
    reply = to_message(
        constellation_pb2.StatusReply,
        state,
        table_version=state.table.version,
        coordizer_hash=state.table.coordizer_hash,
        router_pid=state.pid,
        collective_phi=None if found is None else convert.collective_phi_to_message(found),
        refusal=[
            to_message(constellation_pb2.LengthRefusal, row)
            for row in (() if refusal is None else refusal.at_share(state.rule))
        ],
        routers=[to_message(constellation_pb2.RouterStatus, each) for each in state.routers],
        router=state.name,
        release=state.table.release,
        traffic=overview_messages.traffic_to_message(state.traffic),
        **overview_messages.overview_to_fields(state.overview),
        kernels=[_kernel_message(state, site) for site in state.table.sites],
    )
    reply.uptime.FromNanoseconds(round(state.uptime_s * 1e9))
    return reply


def _kernel_message(state: RouterState, site: KernelSite) -> constellation_pb2.KernelStatus:
    health = state.health.get(site.name)
    return to_message(
        constellation_pb2.KernelStatus,
        *(() if health is None else (health,)),
        site,
        up=site.endpoint is not None,
        num_routed=state.num_routed.get(site.name, 0),
        basin=convert.point_to_message(site.basin_K),
        basins=convert.points_to_messages(site.basins_BK),
        family="" if site.share is None else site.share.family,
        replicas=[
            to_message(constellation_pb2.ReplicaStatus, each)
            for each in (() if health is None else health.replicas)
        ],
        **declarations(
            EVERYTHING if health is None else health.capabilities,
            COORDIZER_TOKENS if health is None else health.vocabulary,
        ),
    )
