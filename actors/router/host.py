"""RouterHost: text in, a route by geometry, the kernel's answer out.

`actors/router/dispatch.py` calls the kernels; `actors/router/process.py` runs all of it in Ray.
"""

import os
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from prometheus_client import CollectorRegistry

from actors.kernel_connections import KernelLinks
from actors.registry_messages import HealthChange, Held, Snapshot
from actors.router.admission_control import Reception
from actors.router.collective_phi import CollectiveSampler
from actors.router.decider import Decider
from actors.router.dispatch import Answering, Asked
from actors.router.interfaces import Administrator, CoordizerSource
from actors.router.query_reader import Query, Reader
from actors.router.served_release import ServedRelease
from actors.spec import RouterOptions
from constellation.errors import ServiceUnavailable
from constellation.records import (
    Change,
    Changed,
    FloatArray,
    Route,
    RoutingOptions,
    Sampling,
    Score,
    Spawn,
    Table,
    TokenArray,
)
from constellation.routing.handoff import HandoffRule
from constellation.telemetry.metrics import RouterMetrics
from constellation.wire import channel, request_tracing, services
from constellation.wire.callers import Caller
from constellation.wire.constellation_service import (
    ConstellationServicer,
    RouterState,
    RoutingTerms,
)
from constellation.wire.request_tracing import Span

OURSELVES = Caller()
UNUSED = Sampling()
PLAIN = RoutingOptions()
SILENT_S = 5.0
"""Seconds without a message until the registry, which sends one a second, counts as down."""


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
        self._administrator = administrator
        self._options = options
        self._links = KernelLinks(token, grace_s=options.timeout_s)
        self._started_s = time.monotonic()
        self.metrics = RouterMetrics(CollectorRegistry())
        self._served = ServedRelease(
            coordizers,
            rule=options.rule,
            top_k=options.top_k,
            phi_weighting=options.phi_weighting,
        )
        self._decider = Decider(self._served, self._links, options, self.metrics)
        self.guard = services.Guard(lambda reason: self.metrics.rejected.labels(reason).inc())
        self.metrics.load_entropy.set_function(self._decider.load_entropy)
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
            self._decider,
            metrics=self.metrics,
            handoff=HandoffRule(margin=options.handoff_margin, tokens=options.handoff_tokens),
        )

    async def update(self, snapshot: Snapshot) -> Held:
        """Route by this table from now on, unless it is outdated; return what the router holds.

        Requests under way finish where they are.

        Raises:
            ArtifactError: The coordizer of the table cannot be read; the router goes on as before.
        """
        if await self._served.update(snapshot):
            self._follow_table()
        return self._served.held

    def update_health(self, change: HealthChange) -> Held:
        """Note what changed in the health of members; return what the router holds."""
        self._served.update_health(change)
        return self._served.held

    async def prepare(self, table: Table) -> None:
        """Read the coordizer of a table that is to come, so that `update` need not wait for it.

        Raises:
            ArtifactError: The coordizer is missing or damaged.
        """
        await self._served.prepare(table)

    def _follow_table(self) -> None:
        """Open links to new kernels, and drop what was known of kernels that left the table."""
        serving = self._served.now
        table = serving.snapshot.table
        self.metrics.table_version.set(table.version)
        self._links.follow(table)
        self._decider.follow_table()
        if self._collective is not None:
            self._collective.follow(serving.policy, serving.coordizer)

    async def generate(
        self,
        prompt: str,
        sampling: Sampling,
        options: RoutingOptions,
        *,
        timeout_s: float | None,
        caller: Caller = OURSELVES,
    ) -> AsyncGenerator[tuple[Route | None, bytes], None]:
        """Answer: pairs of the route (first only) and a serialised KernelGenerateReply."""
        arrived_s = time.monotonic()

        async def work() -> AsyncGenerator[tuple[Route | None, bytes], None]:
            with self._reception.place():
                asked = await self._asked(prompt, options, timeout_s, caller, sampling)
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
    ) -> tuple[Route, bytes]:
        """Answer at once: the route and a serialised KernelGenerateReply."""

        async def work() -> tuple[Route, bytes]:
            with self._reception.place():
                asked = await self._asked(prompt, options, timeout_s, caller, sampling)
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
            coordizer = self._served.now.coordizer
            scored = await self._reader.tokens(coordizer, text, timeout_s=left_s)
            return await self._answering.score(asked, routed, scored.tolist())

    async def route(self, text: str, options: RoutingOptions) -> tuple[Route, FloatArray]:
        """Return where a text would go and its basin."""
        query = await self._query(text, options, timeout_s=self._options.timeout_s)
        query = query.under(self._served.now.coordizer, options)
        return self._decider.decide(query, options, set()), query.basin_K

    async def basin(self, text: str) -> tuple[FloatArray, TokenArray]:
        """Return a text's basin and tokens."""
        query = await self._query(text, PLAIN, timeout_s=self._options.timeout_s)
        return query.basin_K, query.tokens

    def state(self) -> RouterState:
        """Say what the router knows."""
        snapshot, now_s = self._served.now.snapshot, time.monotonic()
        return RouterState(
            table=snapshot.table,
            health=snapshot.health,
            num_routed=dict(self._decider.num_routed),
            pid=os.getpid(),
            uptime_s=now_s - self._started_s,
            load_entropy_ratio=self._decider.load_entropy(),
            num_unexpected_errors=self.guard.num_unexpected,
            registry_pid=snapshot.registry_pid if self._served.silent_s(now_s) < SILENT_S else 0,
            routers=snapshot.routers,
            start_problem=snapshot.start_problem,
            collective_phi=None if self._collective is None else self._collective.state(),
            rule=self._options.rule,
        )

    def terms(self) -> RoutingTerms:
        """Say what the router routes by."""
        options = self._options
        return RoutingTerms(
            table=self._served.now.snapshot.table,
            rule=options.rule,
            top_k=options.top_k,
            phi_weighting=options.phi_weighting,
        )

    async def change(self, change: Change) -> Changed:
        """Change what is served; a kernel that is spawned shares the parent's latest queries."""
        if isinstance(change, Spawn):
            change = replace(change, queries_NK=self._decider.recent_queries(change.parent))
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
            bind, [handler], names, note_refused=self.guard.count_unauthenticated
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
        )

    async def _query(
        self, text: str, options: RoutingOptions, *, timeout_s: float, span: Span | None = None
    ) -> Query:
        coordizer = self._served.now.coordizer
        return await self._reader.query(coordizer, text, options, timeout_s=timeout_s, span=span)

    def _limit(self, timeout_s: float | None) -> float:
        own = self._options.timeout_s
        return own if timeout_s is None else min(timeout_s, own)
