"""RouterHost: text in, a route by geometry, the kernel's answer out.

`actors/router/dispatch.py` calls the kernels; `actors/router/process.py` runs all of it in Ray.
"""

import asyncio
import math
import os
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

import numpy as np
from prometheus_client import CollectorRegistry

from actors.kernel_connections import KernelLinks
from actors.router.admission_control import Reception
from actors.router.collective_phi import CollectiveSampler
from actors.router.dispatch import Answering, Asked
from actors.router.interfaces import Administrator, CoordizerSource, TextGeometry
from actors.router.query_reader import Query, Reader
from actors.router.served_release import Serving, Snapshot
from actors.spec import RouterOptions
from constellation.errors import OutOfDomain, ServiceUnavailable
from constellation.records import (
    Change,
    Changed,
    FloatArray,
    Message,
    Mode,
    Route,
    RoutingOptions,
    Sampling,
    Score,
    Spawn,
    Table,
    TokenArray,
)
from constellation.routing.handoff import WINDOW, HandoffRule
from constellation.routing.load_entropy import load_entropy_ratio
from constellation.routing.policy import RoutingPolicy
from constellation.routing.recent_queries import RecentQueries
from constellation.telemetry.metrics import RouterMetrics
from constellation.wire import channel, request_tracing, services
from constellation.wire.callers import Caller
from constellation.wire.constellation_service import (
    ConstellationServicer,
    RouterState,
    RoutingTerms,
)
from constellation.wire.ensembles import Ensemble, ensemble_of
from constellation.wire.request_tracing import Span

OURSELVES = Caller()
UNUSED = Sampling()
PLAIN = RoutingOptions()
SILENT_S = 5.0
"""Seconds without a word of the registry, which speaks twice a second, until it counts as down."""


class RouterHost:
    """Answers clients. A plain class: tests build it without Ray."""

    def __init__(
        self,
        coordizers: CoordizerSource,
        options: RouterOptions,
        *,
        token: str | None,
        administrator: Administrator | None = None,
    ) -> None:
        self._coordizers = coordizers
        self._prepared: TextGeometry | None = None
        self._administrator = administrator
        self._options = options
        self._links = KernelLinks(token, grace_s=options.timeout_s)
        self._recent = RecentQueries()
        self._serving: Serving | None = None
        self._heard_s = 0.0
        self._num_routed: dict[str, int] = {}
        self._started_s = time.monotonic()
        self.metrics = RouterMetrics(CollectorRegistry())
        self.guard = services.Guard(lambda reason: self.metrics.rejected.labels(reason).inc())
        self.metrics.load_entropy.set_function(self._load_entropy)
        self._reception = Reception(options, self.metrics)
        self._reader = Reader(waiting_max=options.requests_max)
        self._collective: CollectiveSampler | None = None
        if options.collective_rate is not None:
            self._collective = CollectiveSampler(
                self._links,
                rate=options.collective_rate,
                draw=random.random,
                gauge=self.metrics.collective_phi,
            )
        self._answering = Answering(
            self._links,
            encode=self._encode,
            decide=self._decide,
            lead=self._lead,
            gather=self._gather,
            note=self._note,
            metrics=self.metrics,
            handoff=HandoffRule(margin=options.handoff_margin, tokens=options.handoff_tokens),
        )

    async def update(self, snapshot: Snapshot) -> int:
        """Route by this table from now on; return the version in use, newer than an outdated one.

        Requests under way finish where they are.

        Raises:
            ArtifactError: The coordizer of the table cannot be read; the router goes on as before.
        """
        table = snapshot.table
        coordizer = await self._coordizer_of(table)
        if self._serving is not None and table.version < self._serving.snapshot.table.version:
            return self._serving.snapshot.table.version  # an older registry's last word
        policy = RoutingPolicy(
            table,
            rule=self._options.rule,
            top_k=min(self._options.top_k, len(table.sites)),
            phi_weighting=self._options.phi_weighting,
        )
        self._serving = Serving(snapshot, coordizer, policy)
        self._heard_s = time.monotonic()
        if self._prepared is coordizer:  # else its table is still to come
            self._prepared = None
        self.metrics.table_version.set(table.version)
        self._links.follow(table)
        self._recent.follow(table)
        if self._collective is not None:
            self._collective.follow(policy, coordizer)
        return table.version

    async def prepare(self, table: Table) -> None:
        """Read the coordizer of a table that is to come, so that `update` need not wait for it.

        Raises:
            ArtifactError: It is missing or damaged.
        """
        self._prepared = await self._coordizer_of(table)

    async def _coordizer_of(self, table: Table) -> TextGeometry:
        held = (self._prepared, None if self._serving is None else self._serving.coordizer)
        for coordizer in held:
            if coordizer is not None and coordizer.hash == table.coordizer_hash:
                return coordizer
        return await asyncio.to_thread(self._coordizers.of_table, table)

    async def generate(
        self,
        prompt: str,
        sampling: Sampling,
        options: RoutingOptions,
        *,
        timeout_s: float | None,
        caller: Caller = OURSELVES,
        messages: Sequence[Message] = (),
    ) -> AsyncGenerator[tuple[Route | None, bytes], None]:
        """Answer: pairs of the route (first only) and a serialised KernelGenerateReply."""
        arrived_s = time.monotonic()

        async def work() -> AsyncGenerator[tuple[Route | None, bytes], None]:
            with self._reception.place():
                asked = await self._asked(prompt, options, timeout_s, caller, sampling, messages)
                async with aclosing(self._answering.generate(asked)) as answer:
                    async for pair in answer:
                        yield pair

        with self._reception.visit(options, caller):
            async with aclosing(self._reception.repeating.stream(caller, work)) as answer:
                async for route, reply in answer:
                    if route is not None:
                        self.metrics.first_token_seconds.observe(time.monotonic() - arrived_s)
                    yield route, reply

    async def ask(
        self,
        prompt: str,
        sampling: Sampling,
        options: RoutingOptions,
        *,
        timeout_s: float | None,
        caller: Caller = OURSELVES,
        messages: Sequence[Message] = (),
    ) -> tuple[Route, bytes]:
        """Answer at once: the route and a serialised KernelGenerateReply."""

        async def work() -> tuple[Route, bytes]:
            with self._reception.place():
                asked = await self._asked(prompt, options, timeout_s, caller, sampling, messages)
                return await self._answering.ask(asked)

        with self._reception.visit(options, caller):
            return await self._reception.repeating.once(caller, work)

    async def score(
        self,
        context: str,
        text: str,
        options: RoutingOptions,
        *,
        timeout_s: float | None,
        caller: Caller = OURSELVES,
    ) -> tuple[Route, Score]:
        """Say how likely `text` is after `context`, which also routes it unless it is empty."""
        with self._reception.visit(options, caller), self._reception.place():
            asked = await self._asked(context or text, options, timeout_s, caller)
            routed = asked.query.tokens.tolist()
            if not context:
                return await self._answering.score(asked, [], routed)
            left_s = asked.deadline_s - time.monotonic()
            coordizer = self._ready().coordizer
            scored = await self._reader.tokens(coordizer, text, timeout_s=left_s)
            return await self._answering.score(asked, routed, scored.tolist())

    async def route(self, text: str, options: RoutingOptions) -> tuple[Route, FloatArray]:
        """Return where a text would go and its basin."""
        query = await self._query(text, options, timeout_s=self._options.timeout_s)
        query = query.under(self._ready().coordizer, options)
        return self._decide(query, options, set()), query.basin_K

    async def basin(self, text: str) -> tuple[FloatArray, TokenArray]:
        """Return a text's basin and tokens."""
        query = await self._query(text, PLAIN, timeout_s=self._options.timeout_s)
        return query.basin_K, query.tokens

    def state(self) -> RouterState:
        """Say what the router knows."""
        snapshot, silent_s = self._ready().snapshot, time.monotonic() - self._heard_s
        return RouterState(
            table=snapshot.table,
            health=snapshot.health,
            num_routed=dict(self._num_routed),
            pid=os.getpid(),
            uptime_s=time.monotonic() - self._started_s,
            load_entropy_ratio=self._load_entropy(),
            num_unexpected_errors=self.guard.num_unexpected,
            registry_pid=snapshot.registry_pid if silent_s < SILENT_S else 0,
            routers=snapshot.routers,
            start_problem=snapshot.start_problem,
            collective_phi=None if self._collective is None else self._collective.state(),
            rule=self._options.rule,
        )

    def terms(self) -> RoutingTerms:
        """Say what the router routes by."""
        options = self._options
        return RoutingTerms(
            table=self._ready().snapshot.table,
            rule=options.rule,
            top_k=options.top_k,
            phi_weighting=options.phi_weighting,
        )

    async def change(self, change: Change) -> Changed:
        """Change what is served; a kernel that is spawned shares the parent's latest queries."""
        if isinstance(change, Spawn):
            change = replace(change, queries_NK=self._recent.of(change.parent))
        return await self._registry().change(change)

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
        if self._collective is not None:
            self._collective.start()
        return endpoint

    async def stop(self, *, grace_s: float) -> None:
        """Refuse new calls, finish the running ones within `grace_s`, then stop."""
        if self._collective is not None:
            await self._collective.stop()
        await self._server.stop(grace_s)
        self._reader.close()
        await self._links.close()

    async def _asked(
        self,
        text: str,
        options: RoutingOptions,
        timeout_s: float | None,
        caller: Caller,
        sampling: Sampling = UNUSED,
        messages: Sequence[Message] = (),
    ) -> Asked:
        limit_s = self._limit(timeout_s)
        deadline_s = time.monotonic() + limit_s
        span = request_tracing.current()
        if span is not None and sampling is not UNUSED:
            span.note(request_tracing.asked_facts(sampling, options))
        query = await self._query(text, options, timeout_s=limit_s, span=span)
        if self._collective is not None and sampling is not UNUSED:
            self._collective.offer(query.tokens)
        return Asked(
            query=query,
            options=options,
            deadline_s=deadline_s,
            sampling=sampling,
            client=caller.client,
            span=span,
            messages=messages,
        )

    def _decide(self, query: Query, options: RoutingOptions, excluded: set[str]) -> Route:
        serving = self._ready()
        query = query.under(serving.coordizer, options)
        route = serving.policy.decide(
            query.basin_K,
            num_tokens=len(query.evidence),
            rule=options.rule,
            top_k=options.top_k,
            pinned=options.kernel,
            excluded=excluded | self._links.down if excluded else self._links.down,
            mode=options.mode,
            crowded=self._links.crowded(self._options.spill_depth),
            refuse=options.refuse,
        )
        if route.out_of_domain:
            self._meet_stranger(route, options)
        return replace(route, influences=query.influences) if options.explain else route

    def _lead(
        self,
        query: Query,
        produced: list[int],
        kernel: str,
        options: RoutingOptions,
        excluded: set[str],
    ) -> tuple[str, float]:
        """Say which kernel is nearest to where an answer is, and by how much before `kernel`."""
        serving = self._ready()
        latest = np.array([*query.tokens[-WINDOW:].tolist(), *produced[-WINDOW:]], dtype=np.int32)
        basin_K = serving.coordizer.basin(latest[-WINDOW:])
        excluded = excluded | self._links.down
        return serving.policy.lead(basin_K, kernel, rule=options.rule, excluded=excluded)

    def _gather(self, route: Route, options: RoutingOptions) -> Ensemble | None:
        """Return who answers together; None when one kernel does."""
        if options.mode is Mode.NEAREST:
            return None
        policy = self._ready().policy
        return ensemble_of(
            route,
            policy.table,
            top_k=options.top_k or policy.top_k,
            rule=options.rule or policy.rule,
            phi_weighting=self._options.phi_weighting,
            follows_text=options.basin_K is None,
        )

    def _meet_stranger(self, route: Route, options: RoutingOptions) -> None:
        self.metrics.out_of_domain.inc()
        if options.refuses:
            raise OutOfDomain(
                {choice.kernel: choice.distance for choice in route.choices},
                {choice.kernel: choice.radius for choice in route.choices},
            )

    def _encode(self, text: str) -> TokenArray:
        return self._ready().coordizer.encode(text)

    async def _query(
        self, text: str, options: RoutingOptions, *, timeout_s: float, span: Span | None = None
    ) -> Query:
        coordizer = self._ready().coordizer
        return await self._reader.query(coordizer, text, options, timeout_s=timeout_s, span=span)

    def _ready(self) -> Serving:
        if self._serving is None:
            raise ServiceUnavailable("this router", "it has no table yet")
        return self._serving

    def _limit(self, timeout_s: float | None) -> float:
        return min(self._options.timeout_s, math.inf if timeout_s is None else timeout_s)

    def _note(self, route: Route, query: Query) -> None:
        if route.reason == "nearest" and not route.no_evidence:
            self._recent.note(route.kernel, query.under(self._ready().coordizer, PLAIN).basin_K)
        self._num_routed[route.kernel] = self._num_routed.get(route.kernel, 0) + 1
        self.metrics.routes.labels(route.kernel, route.reason).inc()
        chosen = (choice.distance for choice in route.choices if choice.kernel == route.kernel)
        self.metrics.distance.observe(next(chosen, math.nan))
        self.metrics.margin.observe(route.margin)

    def _load_entropy(self) -> float:
        sites = () if self._serving is None else self._serving.snapshot.table.sites
        names = [site.name for site in sites]
        return load_entropy_ratio({name: self._num_routed.get(name, 0) for name in names}) or 0.0
