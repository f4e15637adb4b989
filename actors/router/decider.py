"""Decisions of a router: which kernel answers, which kernels answer together, who is nearest now.

The decider owns nothing that waits: it looks at the release that is served, at the links to
kernels, and at the options of a query, and returns a decision. Both the router's host and the
dispatch of answers ask it.
"""

import time
from collections import Counter
from dataclasses import replace

import numpy as np

from actors.kernel_connections import KernelLinks
from actors.router.query_reader import Query
from actors.router.recent_routes import RecentRoutes
from actors.router.served_release import ServedRelease
from actors.spec import RouterOptions
from constellation.errors import OutOfDomain
from constellation.records import (
    FloatArray,
    Mode,
    Route,
    RoutingOptions,
    TokenArray,
)
from constellation.routing.handoff import WINDOW
from constellation.routing.load_entropy import load_entropy_ratio
from constellation.routing.recent_queries import RecentQueries
from constellation.telemetry.metrics import RouterMetrics
from constellation.wire.ensembles import Ensemble, ensemble_of

_PLAIN = RoutingOptions()


class Decider:
    """Decides by the release that is served, and counts what was decided.

    Args:
        served: The release: table, policy and coordizer.
        links: Which kernels are down or have enough to do.
        options: Of the router.
        metrics: Where decisions are counted.

    Attributes:
        num_routed: Kernel -> queries that it answered since the router started.
        latest: The latest routes that were counted, for people.
    """

    def __init__(
        self,
        served: ServedRelease,
        links: KernelLinks,
        options: RouterOptions,
        metrics: RouterMetrics,
    ) -> None:
        self._served = served
        self._links = links
        self._options = options
        self._metrics = metrics
        self._recent = RecentQueries()
        self.latest = RecentRoutes()
        self.num_routed: Counter[str] = Counter()

    def follow_table(self) -> None:
        """Keep the recent queries of those kernels only that the new table has."""
        self._recent.follow(self._served.now.snapshot.table)

    def decide(
        self, query: Query, options: RoutingOptions, excluded: set[str], *, counts: bool = True
    ) -> Route:
        """Return the route of a query.

        Args:
            query: Read under any coordinates; read again when they are not the served ones.
            options: Of the query.
            excluded: Kernels that cannot answer this query, beside those that are down.
            counts: Whether a caller waits for an answer: only then a refusal is counted. A route
                that is answered is counted by `count`.

        Raises:
            OutOfDomain: The query is out of every domain, and such queries are to be refused.
            KernelUnavailable: No kernel is left.
        """
        serving = self._served.now
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
            without=options.without,
        )
        if route.out_of_domain and options.refuses:
            if counts:
                self._count_domain(route)
            raise OutOfDomain(
                {choice.kernel: choice.distance for choice in route.choices},
                {choice.kernel: choice.radius for choice in route.choices},
            )
        return replace(route, influences=query.influences) if options.explain else route

    def nearest_to_answer(
        self,
        query: Query,
        produced: list[int],
        kernel: str,
        options: RoutingOptions,
        excluded: set[str],
    ) -> tuple[str, float]:
        """Return the kernel that is nearest to the latest tokens of an answer.

        Args:
            query: What the answer is to.
            produced: Tokens of the answer so far.
            kernel: The kernel that writes the answer.
            options: Of the query.
            excluded: Kernels that cannot go on with the answer, beside those that are down.

        Returns:
            The nearest kernel, and by how many radians it is nearer than `kernel`.
        """
        serving = self._served.now
        latest = np.array([*query.tokens[-WINDOW:].tolist(), *produced[-WINDOW:]], dtype=np.int32)
        basin_K = serving.coordizer.basin(latest[-WINDOW:])
        excluded = excluded.union(self._links.down, options.without)
        return serving.policy.lead(basin_K, kernel, rule=options.rule, excluded=excluded)

    def ensemble(self, route: Route, options: RoutingOptions) -> Ensemble | None:
        """Return the kernels that answer together by a route; None when one kernel answers."""
        if options.mode is Mode.NEAREST:
            return None
        policy = self._served.now.policy
        return ensemble_of(
            route,
            policy.table,
            top_k=options.top_k or policy.top_k,
            rule=options.rule or policy.rule,
            phi_weighting=self._options.phi_weighting,
            follows_text=options.basin_K is None,
        )

    def encode(self, text: str) -> TokenArray:
        """Return the tokens of a text that a kernel wrote in tokens of its own."""
        return self._served.now.coordizer.encode(text)

    def count(self, route: Route, query: Query) -> None:
        """Count a query that is answered by a route, and keep its basin for spawned kernels."""
        if route.reason == "nearest" and not route.no_evidence:
            coordizer = self._served.now.coordizer
            self._recent.note(route.kernel, query.under(coordizer, _PLAIN).basin_K)
        self.num_routed[route.kernel] += 1
        self._metrics.routes.labels(route.kernel, route.reason).inc()
        chosen = (choice.distance for choice in route.choices if choice.kernel == route.kernel)
        distance = next(chosen, None)
        self.latest.note(route, distance, at_s=time.time())
        if distance is not None:
            self._metrics.distance.observe(distance)
        self._metrics.margin.observe(route.margin)
        self._count_domain(route)

    def _count_domain(self, route: Route) -> None:
        """Count whether a query is out of domain, and how far out among in-domain queries."""
        self._metrics.out_of_domain.inc(route.out_of_domain)
        if route.beyond_own is not None and route.reason != "pinned":
            self._metrics.beyond_own.observe(route.beyond_own)

    def recent_queries(self, kernel: str) -> FloatArray:
        """Return the basins of a kernel's latest queries, shape (N, K)."""
        return self._recent.of(kernel)

    def load_entropy(self) -> float:
        """Return how evenly queries went to the kernels of the table, in [0, 1]; 1 is evenly."""
        names = [site.name for site in self._served.sites]
        return load_entropy_ratio({name: self.num_routed[name] for name in names}) or 0.0
