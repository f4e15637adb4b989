"""RouterHost: text in, a route by geometry, the kernel's answer out.

Kernels are called over gRPC and their replies forwarded as bytes. A kernel that is lost before it
wrote anything is replaced by the next nearest; after the first text the caller is told.
`actors/router_process.py` runs it in Ray.
"""

import logging
import math
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import grpc
from prometheus_client import CollectorRegistry

from actors.kernel_link import KernelLink, KernelLinks, typed_loss
from actors.ports import Administrator, TextGeometry
from actors.spec import RouterOptions
from constellation.errors import (
    ArtifactError,
    ConstellationError,
    KernelUnavailable,
    OutOfDomain,
    ServiceUnavailable,
)
from constellation.records import (
    FloatArray,
    Grown,
    KernelHealth,
    Reloaded,
    Route,
    RoutingOptions,
    Sampling,
    Score,
    Table,
    TokenArray,
)
from constellation.routing.load import load_entropy_ratio
from constellation.routing.policy import RoutingPolicy
from constellation.routing.recent import RecentQueries
from constellation.runtime.admission import Admission
from constellation.telemetry.metrics import RouterMetrics
from constellation.v1 import kernel_pb2
from constellation.wire import channel, convert, services
from constellation.wire.constellation_service import ConstellationServicer, RouterState

logger = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")

INFLUENCES = 5
"""Tokens named in an explanation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What the registry tells routers."""

    table: Table
    health: dict[str, KernelHealth]
    registry_pid: int


@dataclass(frozen=True, slots=True)
class Query:
    """A text as the router reads it."""

    tokens: TokenArray
    basin_K: FloatArray


class RouterHost:
    """Answers clients. A plain class: tests build it without Ray."""

    def __init__(
        self,
        coordizer: TextGeometry,
        options: RouterOptions,
        *,
        token: str | None,
        administrator: Administrator | None = None,
    ) -> None:
        self._coordizer = coordizer
        self._administrator = administrator
        self._options = options
        self._links = KernelLinks(token, grace_s=options.timeout_s)
        self._recent = RecentQueries()
        self._policy: RoutingPolicy | None = None
        self._snapshot: Snapshot | None = None
        self._num_routed: dict[str, int] = {}
        self._admission = Admission("the router", slots=options.requests_max, queue_max=0)
        self._started_s = time.monotonic()
        self.metrics = RouterMetrics(CollectorRegistry())
        self.guard = services.Guard(lambda reason: self.metrics.rejected.labels(reason).inc())
        self.metrics.load_entropy.set_function(self._load_entropy)

    async def update(self, snapshot: Snapshot) -> None:
        """Route by this table from now on; requests under way finish where they are.

        Raises:
            ArtifactError: The table belongs to another coordizer.
        """
        table = snapshot.table
        if self._snapshot is not None and table.version < self._snapshot.table.version:
            return  # an older registry's last word
        if table.coordizer_hash != self._coordizer.hash:
            raise ArtifactError("table", "was made with another coordizer than this router's")
        self._policy = RoutingPolicy(
            table,
            rule=self._options.rule,
            top_k=min(self._options.top_k, len(table.sites)),
            phi_weighting=self._options.phi_weighting,
        )
        self._snapshot = snapshot
        self.metrics.table_version.set(table.version)
        self._links.follow(table)
        self._recent.follow(table)

    async def generate(
        self,
        prompt: str,
        sampling: Sampling,
        options: RoutingOptions,
        *,
        timeout_s: float | None,
    ) -> AsyncGenerator[tuple[Route | None, bytes], None]:
        """Answer: pairs of the route (first only) and a serialised KernelGenerateReply."""
        arrived_s = time.monotonic()
        with self._counted(options), self._admitted():
            query = self._read(prompt, options)
            request = _generate_request(query, sampling)
            deadline_s = arrived_s + self._limit(timeout_s)
            excluded: set[str] = set()
            while True:
                route = self._decide(query, options, excluded)
                replies = self._replies(route, request, deadline_s, excluded)
                first = await anext(replies, None)
                if first is not None:
                    break
            self._note(route, query)
            self.metrics.first_token_seconds.observe(time.monotonic() - arrived_s)
            yield route, first
            async for reply in replies:
                yield None, reply

    async def ask(
        self,
        prompt: str,
        sampling: Sampling,
        options: RoutingOptions,
        *,
        timeout_s: float | None,
    ) -> tuple[Route, bytes]:
        """Answer at once: the route and a serialised KernelGenerateReply."""
        deadline_s = time.monotonic() + self._limit(timeout_s)
        with self._counted(options), self._admitted():
            query = self._read(prompt, options)
            request = _generate_request(query, sampling)
            return await self._first_that_answers(
                query, options, lambda link: link.ask(request, deadline_s - time.monotonic())
            )

    async def _replies(
        self, route: Route, request: Any, deadline_s: float, excluded: set[str]
    ) -> AsyncGenerator[bytes, None]:
        """Forward a kernel's replies; end without any when another kernel should be asked."""
        started = False
        call = None
        try:
            call = self._links.to(route.kernel).generate(request, deadline_s - time.monotonic())
            async for reply in call:
                started = True
                yield reply
        except (grpc.aio.AioRpcError, KernelUnavailable) as error:
            self._judge(error, route, started, excluded)
        finally:
            if call is not None:
                call.cancel()

    def _judge(self, error: Exception, route: Route, started: bool, excluded: set[str]) -> None:
        """Raise what the caller must hear; return when another kernel may take over."""
        typed = typed_loss(error, route.kernel)
        if not isinstance(typed, KernelUnavailable):
            raise typed from error
        logger.warning(
            "kernel lost", extra={"kernel": route.kernel, "started": started, "why": str(typed)}
        )
        if started or route.reason == "pinned":
            raise typed from error
        excluded.add(route.kernel)
        self.metrics.failovers.labels(route.kernel).inc()

    async def score(
        self, context: str, text: str, options: RoutingOptions, *, timeout_s: float | None
    ) -> tuple[Route, Score]:
        """Say how likely `text` is after `context`, which also routes it unless it is empty."""
        deadline_s = time.monotonic() + self._limit(timeout_s)
        with self._counted(options), self._admitted():
            query = self._read(context or text, options)
            before = query.tokens.tolist() if context else []
            scored = self._coordizer.encode(text).tolist() if context else query.tokens.tolist()
            request = kernel_pb2.KernelScoreRequest(
                tokens=[*before, *scored], num_context=len(before)
            )
            return await self._first_that_answers(
                query, options, lambda link: link.score(request, deadline_s - time.monotonic())
            )

    async def _first_that_answers(
        self,
        query: Query,
        options: RoutingOptions,
        call: Callable[[KernelLink], Awaitable[ResultT]],
    ) -> tuple[Route, ResultT]:
        """Call the nearest kernel; when it is lost, the next; nothing was said meanwhile."""
        excluded: set[str] = set()
        while True:
            route = self._decide(query, options, excluded)
            try:
                result = await call(self._links.to(route.kernel))
            except (grpc.aio.AioRpcError, KernelUnavailable) as error:
                self._judge(error, route, False, excluded)
            else:
                self._note(route, query)
                return route, result

    def route(self, text: str, options: RoutingOptions) -> tuple[Route, FloatArray]:
        """Return where a text would go and its basin."""
        query = self._read(text, options)
        return self._decide(query, options, set()), query.basin_K

    def basin(self, text: str) -> tuple[FloatArray, TokenArray]:
        """Return a text's basin and tokens."""
        tokens = self._coordizer.encode(text)
        return self._coordizer.basin(tokens), tokens

    def state(self) -> RouterState:
        """Say what the router knows."""
        snapshot = self._ready()
        return RouterState(
            table=snapshot.table,
            health=snapshot.health,
            num_routed=dict(self._num_routed),
            pid=os.getpid(),
            uptime_s=time.monotonic() - self._started_s,
            load_entropy_ratio=self._load_entropy(),
            num_unexpected_errors=self.guard.num_unexpected,
            registry_pid=snapshot.registry_pid,
        )

    async def reload(self) -> Reloaded:
        """Have every kernel and the table replaced by what training has written since."""
        return await self._registry().reload()

    async def add(self, name: str) -> Grown:
        """Take in a kernel that lies in the artifacts."""
        return await self._registry().add(name)

    async def spawn(self, parent: str, name: str) -> Grown:
        """Share a kernel's queries with a new one, by where the latest of them lie."""
        return await self._registry().spawn(parent, name, self._recent.of(parent))

    async def retire(self, name: str) -> Grown:
        """Let a kernel go."""
        return await self._registry().retire(name)

    def _registry(self) -> Administrator:
        if self._administrator is None:
            raise ServiceUnavailable("this router", "it has no registry")
        return self._administrator

    async def serve(self, bind: channel.Bind, *, stall_s: float) -> str:
        """Start the gRPC server; return its host:port."""
        servicer = ConstellationServicer(self, stall_s=stall_s)
        handler = services.handlers(services.CONSTELLATION, servicer, self.guard)
        names = [services.CONSTELLATION.full_name]
        self._server, endpoint = await channel.serve(
            bind, [handler], names, note_refused=self.guard.note_stranger
        )
        return endpoint

    async def stop(self, *, grace_s: float) -> None:
        """Refuse new calls, finish the running ones within `grace_s`, then stop."""
        await self._server.stop(grace_s)
        await self._links.close()

    def _read(self, text: str, options: RoutingOptions) -> Query:
        tokens = self._coordizer.encode(text)
        given_K = options.basin_K
        return Query(tokens, self._coordizer.basin(tokens) if given_K is None else given_K)

    def _decide(self, query: Query, options: RoutingOptions, excluded: set[str]) -> Route:
        self._ready()
        assert self._policy is not None
        route = self._policy.decide(
            query.basin_K,
            num_tokens=len(query.tokens),
            rule=options.rule,
            top_k=options.top_k,
            pinned=options.kernel,
            excluded=excluded | self._links.down if excluded else self._links.down,
        )
        if route.out_of_domain:
            self._meet_stranger(route, options)
        if options.explain:
            named = self._coordizer.influences(query.tokens, INFLUENCES)
            route = replace(route, influences=named)
        return route

    def _meet_stranger(self, route: Route, options: RoutingOptions) -> None:
        self.metrics.out_of_domain.inc()
        if options.refuse_out_of_domain:
            raise OutOfDomain(
                {choice.kernel: choice.distance for choice in route.choices},
                {choice.kernel: choice.radius for choice in route.choices},
            )

    def _ready(self) -> Snapshot:
        if self._snapshot is None:
            raise ServiceUnavailable("this router", "it has no table yet")
        return self._snapshot

    def _limit(self, timeout_s: float | None) -> float:
        own = self._options.timeout_s
        return own if timeout_s is None else min(timeout_s, own)

    def _note(self, route: Route, query: Query) -> None:
        if route.reason == "nearest" and not route.no_evidence:
            self._recent.note(route.kernel, query.basin_K)
        self._num_routed[route.kernel] = self._num_routed.get(route.kernel, 0) + 1
        self.metrics.routes.labels(route.kernel, route.reason).inc()
        self.metrics.distance.observe(_chosen_distance(route))
        self.metrics.margin.observe(route.margin)

    def _load_entropy(self) -> float:
        names = [site.name for site in self._snapshot.table.sites] if self._snapshot else []
        return load_entropy_ratio({name: self._num_routed.get(name, 0) for name in names}) or 0.0

    @contextmanager
    def _admitted(self) -> Any:
        ticket = object()
        self._admission.arrive(ticket, now_s=time.monotonic())
        try:
            yield
        finally:
            self._admission.leave(ticket, now_s=time.monotonic())

    @contextmanager
    def _counted(self, options: RoutingOptions) -> Any:
        started_s, outcome = time.monotonic(), "cancelled"
        try:
            yield
            outcome = "ok"
        except ConstellationError as error:
            outcome = type(error).__name__
            raise
        except Exception:
            outcome = "InternalError"
            raise
        finally:
            self.metrics.requests.labels(str(options.mode), outcome).inc()
            self.metrics.seconds.observe(time.monotonic() - started_s)


def _generate_request(query: Query, sampling: Sampling) -> kernel_pb2.KernelGenerateRequest:
    return kernel_pb2.KernelGenerateRequest(
        tokens=query.tokens.tolist(), sampling=convert.sampling_to_message(sampling)
    )


def _chosen_distance(route: Route) -> float:
    for choice in route.choices:
        if choice.kernel == route.kernel:
            return choice.distance
    return math.nan
