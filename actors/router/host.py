"""RouterHost: takes a text, chooses a kernel by geometry, and returns the kernel's answer.

`actors/router/decider.py` decides on kernels and `actors/router/dispatch.py` calls them;
`actors/router/process.py` runs the host in a Ray actor.
"""

import os
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from prometheus_client import CollectorRegistry

from actors.kernel_connections import KernelLinks
from actors.registry_messages import HealthChange, Held, Snapshot
from actors.router.admission_control import AdmissionControl
from actors.router.answer_request import AnswerRequest
from actors.router.collective_phi import CollectiveSampler
from actors.router.decider import Decider
from actors.router.dispatch import Dispatcher
from actors.router.interfaces import Administrator, CoordizerSource
from actors.router.query_reader import Query, Reader
from actors.router.served_release import ServedRelease
from actors.spec import ROUTER, RouterOptions
from constellation.errors import ServiceUnavailable
from constellation.records import (
    Change,
    Changed,
    FloatArray,
    Message,
    Route,
    RoutingOptions,
    Sampling,
    Score,
    Spawn,
    Table,
    TokenArray,
)
from constellation.routing.handoff import HandoffRule
from constellation.runtime.traffic_window import TrafficWindow
from constellation.telemetry.metrics import RouterMetrics
from constellation.wire import channel, request_tracing, services
from constellation.wire.callers import Caller
from constellation.wire.constellation_service import (
    ConstellationServicer,
    RouterState,
    RoutingTerms,
)
from constellation.wire.request_tracing import Span
from constellation.wire.tls import ClientTls

OURSELVES = Caller()
UNUSED = Sampling()
PLAIN = RoutingOptions()
SILENT_S = 5.0
"""Seconds without a message until the registry, which sends one a second, counts as down."""


class RouterHost:
    """Serves clients' requests. A plain class: tests build a host without Ray."""

    def __init__(
        self,
        coordizers: CoordizerSource,
        options: RouterOptions,
        *,
        token: str | None,
        administrator: Administrator | None = None,
        name: str = ROUTER,
        tls: ClientTls | None = None,
    ) -> None:
        self._administrator = administrator
        self._name = name
        self._options = options
        self._links = KernelLinks(token, grace_s=options.timeout_s, tls=tls)
        self._started_s = time.monotonic()
        self.metrics = RouterMetrics(CollectorRegistry())
        self._window = TrafficWindow()
        self._served = ServedRelease(
            coordizers,
            rule=options.rule,
            top_k=options.top_k,
            phi_weighting=options.phi_weighting,
        )
        self._decider = Decider(self._served, self._links, options, self.metrics)
        self.guard = services.Guard(lambda reason: self.metrics.rejected.labels(reason).inc())
        self.metrics.load_entropy.set_function(self._decider.load_entropy)
        self._admission = AdmissionControl(options, self.metrics, self._window)
        self._reader = Reader(waiting_max=options.requests_max)
        self._collective: CollectiveSampler | None = None
        if options.collective_rate is not None:
            self._collective = CollectiveSampler(
                self._links,
                rate=options.collective_rate,
                draw=random.random,
                gauge=self.metrics.collective_phi,
            )
        self._dispatcher = Dispatcher(
            self._links,
            self._decider,
            metrics=self.metrics,
            handoff=HandoffRule(margin=options.handoff_margin, tokens=options.handoff_tokens),
            window=self._window,
        )

    async def update(self, snapshot: Snapshot) -> Held:
        """Route by this table from now on, unless it is outdated; return what the router holds.

        Requests under way finish where they are.

        Raises:
            ArtifactError: The coordizer of the table cannot be read; the router goes on as before.
        """
        if await self._served.update(snapshot):
            self._follow_table()
        self._links.note_health(self._served.now.snapshot.health.values())
        return self._served.held

    def update_health(self, change: HealthChange) -> Held:
        """Note what changed in the health of members; return what the router holds."""
        self._served.update_health(change)
        self._links.note_health(change.kernels)
        return self._served.held

    @property
    def table_held(self) -> tuple[int, int]:
        """Version and release of the table that the router routes by; (0, 0) before the first."""
        if not self._served.held.table_version:
            return 0, 0
        table = self._served.now.snapshot.table
        return table.version, table.release

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
        self.metrics.follow([site.name for site in table.sites])
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
        messages: Sequence[Message] = (),
    ) -> AsyncGenerator[tuple[Route | None, bytes], None]:
        """Stream the answer to a prompt.

        Yields:
            Pairs of the route, None in all pairs but the first, and a serialised
            KernelGenerateReply.
        """
        arrived_s = time.monotonic()

        async def work() -> AsyncGenerator[tuple[Route | None, bytes], None]:
            with self._admission.slot():
                request = await self._request(
                    prompt, options, timeout_s, caller, sampling, messages
                )
                async with aclosing(self._dispatcher.generate(request)) as answer:
                    async for pair in answer:
                        yield pair

        with self._admission.request(options, caller):
            async with aclosing(self._admission.answers.stream(caller, work)) as answer:
                async for route, reply in answer:
                    if route is not None:
                        self._note_first_token(arrived_s)
                    yield route, reply

    def _note_first_token(self, arrived_s: float) -> None:
        now_s = time.monotonic()
        self.metrics.first_token_seconds.observe(now_s - arrived_s)
        self._window.began(now_s - arrived_s, now_s=now_s)

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
        """Return the route of a prompt and the whole answer, a serialised KernelGenerateReply."""

        async def work() -> tuple[Route, bytes]:
            with self._admission.slot():
                request = await self._request(
                    prompt, options, timeout_s, caller, sampling, messages
                )
                return await self._dispatcher.ask(request)

        with self._admission.request(options, caller):
            return await self._admission.answers.whole(caller, work)

    async def score(
        self,
        context: str,
        text: str,
        options: RoutingOptions,
        *,
        timeout_s: float | None,
        caller: Caller = OURSELVES,
    ) -> tuple[Route, Score]:
        """Return how likely `text` is after `context`.

        The context decides on the route; where the context is empty, the text does.
        """
        with self._admission.request(options, caller), self._admission.slot():
            request = await self._request(context or text, options, timeout_s, caller)
            routed = request.query.tokens.tolist()
            if not context:
                return await self._dispatcher.score(request, [], routed)
            left_s = request.deadline_s - time.monotonic()
            coordizer = self._served.now.coordizer
            scored = await self._reader.tokens(coordizer, text, timeout_s=left_s)
            return await self._dispatcher.score(request, routed, scored.tolist())

    async def route(self, text: str, options: RoutingOptions) -> tuple[Route, FloatArray]:
        """Return the route that a text would take, and the basin of the text."""
        query = await self._query(text, options, timeout_s=self._options.timeout_s)
        query = query.under(self._served.now.coordizer, options)
        return self._decider.decide(query, options, set(), counts=False), query.basin_K

    async def basin(self, text: str) -> tuple[FloatArray, TokenArray]:
        """Return a text's basin and tokens."""
        query = await self._query(text, PLAIN, timeout_s=self._options.timeout_s)
        return query.basin_K, query.tokens

    def state(self) -> RouterState:
        """Return what the router knows of itself, of kernels and of other routers."""
        snapshot, now_s = self._served.now.snapshot, time.monotonic()
        return RouterState(
            name=self._name,
            time_s=time.time(),
            traffic=self._window.traffic(now_s=now_s),
            recent=self._decider.latest.newest_first(),
            overview=snapshot.overview,
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
        """Return the table and the options that the router routes by."""
        options = self._options
        return RoutingTerms(
            table=self._served.now.snapshot.table,
            rule=options.rule,
            top_k=options.top_k,
            phi_weighting=options.phi_weighting,
        )

    async def change(self, change: Change) -> Changed:
        """Have the registry change what is served.

        The latest queries of the parent are sent along when a kernel is to be spawned.
        """
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

    async def _request(
        self,
        text: str,
        options: RoutingOptions,
        timeout_s: float | None,
        caller: Caller,
        sampling: Sampling = UNUSED,
        messages: Sequence[Message] = (),
    ) -> AnswerRequest:
        limit_s = self._limit(timeout_s)
        deadline_s = time.monotonic() + limit_s
        span = request_tracing.current()
        if span is not None and sampling is not UNUSED:
            span.note(request_tracing.asked_facts(sampling, options))
        query = await self._query(text, options, timeout_s=limit_s, span=span)
        if self._collective is not None and sampling is not UNUSED:
            self._collective.offer(query.tokens)
        return AnswerRequest(
            query=query,
            options=options,
            deadline_s=deadline_s,
            sampling=sampling,
            client=caller.client,
            span=span,
            messages=messages,
        )

    async def _query(
        self, text: str, options: RoutingOptions, *, timeout_s: float, span: Span | None = None
    ) -> Query:
        coordizer = self._served.now.coordizer
        return await self._reader.query(coordizer, text, options, timeout_s=timeout_s, span=span)

    def _limit(self, timeout_s: float | None) -> float:
        own = self._options.timeout_s
        return own if timeout_s is None else min(timeout_s, own)
