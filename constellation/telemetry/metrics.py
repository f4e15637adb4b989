"""All Prometheus metrics of routers, kernels and registry, each declared once.

Names of metrics are API and are tested. A process creates one catalogue on its own registry and
serves it on one loopback port. Label values come from closed sets (kernels, modes, outcomes, error
classes), never from ids, and the series of a kernel are removed when the kernel leaves.
"""

from collections.abc import Collection
from contextlib import suppress
from math import nan

from prometheus_client import CollectorRegistry, Counter, Summary

from constellation.telemetry.process_metrics import PREFIX, ProcessMetrics

_RADIANS = (*tuple(0.05 * step for step in range(1, 20)), 1.2, 1.5, 2.0, 2.5, 3.15)
_SHARES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)

TOKEN_KINDS = ("prompt", "completion", "score")
"""Values of the label `kind` of the token counter."""
CHANGES = ("reload", "add", "spawn", "retire", "unlearn", "rollback", "rebalance")
"""Values of the label `change`: the classes of `constellation/records/changes.py`."""


class _RequestMetrics(ProcessMetrics):
    """Metrics that routers and kernels share."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.rejected = self._counter(
            "rejected_total",
            "Requests refused, by error class; InternalError is a mistake of the program.",
            "reason",
        )
        for reason in ("InternalError", "Overloaded"):  # from 0, so that the first one is seen
            self.rejected.labels(reason)
        self.spans = self._counter(
            "spans_total",
            "Spans that the collector accepted, did not accept, or that found a full queue.",
            "outcome",
        )


class RouterMetrics(_RequestMetrics):
    """Metrics of a router process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._declare_requests()
        self._declare_routes()
        self.table_version = self._gauge("table_version", "Version of the table in use.")
        self.collective_phi = self._gauge(
            "collective_phi_bit_per_byte",
            "Best single kernel minus constellation over sampled prompts (high is good); or NaN.",
        )
        self.collective_phi.set(nan)
        self.event_streams = self._gauge(
            "event_streams", "Open streams of status events, such as those of status pages."
        )

    def _declare_requests(self) -> None:
        self.requests = self._counter(
            "requests_total", "Requests answered or refused.", "mode", "outcome"
        )
        self.active = self._gauge(
            "requests_active", "Requests in progress; requests_max is the limit."
        )
        self.limit = self._gauge(
            "requests_max", "Requests in progress above which requests are refused."
        )
        self.seconds = self._histogram(
            "request_seconds", "From the arrival of a request to its last byte (low is good)."
        )
        self.first_token_seconds = self._histogram(
            "time_to_first_token_seconds",
            "From the arrival of a request to the first text of a streamed answer (low is good).",
        )
        self.answer_seconds = Summary(
            PREFIX + "kernel_answer_seconds",
            "From the call of a kernel to the kernel's last byte (low is good).",
            ["kernel"],
            registry=self.registry,
        )
        self.failovers = self._counter(
            "failovers_total",
            "Requests that moved to another kernel because this kernel was lost.",
            "kernel",
        )
        self.handoffs = self._counter(
            "handoffs_total",
            "Answers that moved from this kernel to another that had become nearer.",
            "kernel",
        )

    def _declare_routes(self) -> None:
        self.routes = self._counter("route_total", "Routes taken.", "kernel", "reason")
        self.distance = self._histogram(
            "route_distance_radians",
            "Distance from a query to the kernel that answered.",
            buckets=_RADIANS,
        )
        self.margin = self._histogram(
            "route_margin_radians",
            "Distance to the second nearest kernel minus distance to the nearest.",
            buckets=_RADIANS,
        )
        self.beyond_own = self._histogram(
            "route_beyond_own_ratio",
            "Share of held-out texts of the kernels that lie as far out as the query; among "
            "in-domain queries a share x lies at or below x.",
            buckets=_SHARES,
        )
        self.load_entropy = self._gauge(
            "route_load_entropy_ratio",
            "Entropy of routes over ln(number of kernels); near 0 means collapse onto one kernel.",
        )
        self.out_of_domain = self._counter(
            "out_of_domain_total", "Queries beyond every kernel's radius for their length."
        )

    def follow(self, kernels: Collection[str]) -> None:
        """Export the counters of these kernels from 0 on, and remove those of all other kernels."""
        for kernel in kernels:
            self.routes.labels(kernel, "nearest")
            self.failovers.labels(kernel)
            self.handoffs.labels(kernel)
            self.answer_seconds.labels(kernel)
        for metric in (self.routes, self.failovers, self.handoffs, self.answer_seconds):
            _remove_others(metric, kernels)


class KernelMetrics(_RequestMetrics):
    """Metrics of a process that runs kernels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.tokens = self._counter(
            "tokens_total",
            "Tokens read (kind=prompt), written (completion) or scored (score).",
            "kernel",
            "kind",
        )
        self.inter_token_seconds = self._histogram(
            "inter_token_seconds", "Between two tokens of one answer (low is good).", "kernel"
        )
        self.queue_depth = self._gauge(
            "queue_depth", "Requests that wait for a slot (low is good).", "kernel"
        )
        self.queue_limit = self._gauge(
            "queue_limit", "Waiting requests above which requests are refused.", "kernel"
        )
        self.running = self._gauge("running_requests", "Requests that hold a slot.", "kernel")
        self.cache_usage = self._gauge(
            "kv_cache_usage_ratio",
            "Filled share of the key-value caches' capacity, over all slots.",
            "kernel",
        )
        self.kappa = self._gauge(
            "kernel_kappa", "Mean learned attention coupling over heads and layers.", "kernel"
        )

    def forget(self, kernel: str) -> None:
        """Remove the metrics of a kernel that has left."""
        for kind in TOKEN_KINDS:
            self.tokens.remove(kernel, kind)
        for metric in (
            self.inter_token_seconds,
            self.queue_depth,
            self.queue_limit,
            self.running,
            self.cache_usage,
            self.kappa,
        ):
            with suppress(KeyError):  # not every kernel has a coupling
                metric.remove(kernel)


class RegistryMetrics(ProcessMetrics):
    """Metrics of the registry process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._declare_members()
        self._declare_release()
        self.can_start = self._gauge(
            "process_start_possible",
            "1 while a process that dies can be started again; 0: Ray's folder was emptied.",
        )
        self.can_start.set(1)
        self.fork_server_up = self._gauge(
            "fork_server_up",
            "1 while processes are forked, 0 while they start slowly; NaN: not meant to be forked.",
        )
        self.fork_server_up.set(nan)

    def _declare_members(self) -> None:
        self.up = self._gauge("kernel_up", "1 while the kernel answers, else 0.", "kernel")
        self.restarts = self._counter(
            "kernel_restarts_total", "Restarts of the kernel's process.", "kernel"
        )
        self.member_restarts = self._counter(
            "member_restarts_total", "Restarts of a router or a process of kernels.", "member"
        )
        self.phi = self._gauge(
            "kernel_phi_ratio", "phi_gauge of the kernel, as measured after training.", "kernel"
        )
        self.arrived = self._gauge(
            "kernel_arrived_ratio",
            "Share of the kernel's held-out passages that are routed to the kernel, by the "
            "bearing rule (high is good).",
            "kernel",
        )

    def _declare_release(self) -> None:
        self.basin_spread = self._gauge(
            "basin_spread_radians", "Mean Fisher-Rao distance between the kernels' basins."
        )
        self.table_version = self._gauge("table_version", "Version of the newest table.")
        self.table_lag = self._gauge(
            "table_lag",
            "Versions by which the router's table is older than the newest (0 is good).",
            "router",
        )
        self.release = self._gauge("release_number", "Number of the release that is served.")
        self.release_since = self._gauge(
            "release_since_seconds", "Unix time of the switch to the release."
        )
        self.changes = self._counter(
            "changes_total",
            "Changes of what is served; outcome is ok or the error class.",
            "change",
            "outcome",
        )
        for change in CHANGES:
            self.changes.labels(change, "ok")

    def forget(self, kernel: str) -> None:
        """Remove the metrics of a kernel that has left."""
        for metric in (self.up, self.restarts, self.phi, self.arrived):
            with suppress(KeyError):  # not every kernel has been measured
                metric.remove(kernel)

    def follow_members(self, members: Collection[str]) -> None:
        """Remove the series of all members that are not among these."""
        _remove_others(self.member_restarts, members)


_NAMES = frozenset({"kernel", "member"})
"""Labels that name a kernel or a member."""


def _remove_others(metric: Counter | Summary, names: Collection[str]) -> None:
    """Remove the series of a metric that name another kernel or member than `names`."""
    found = {tuple(each.labels.items()) for family in metric.collect() for each in family.samples}
    for labels in found:
        if any(label in _NAMES and value not in names for label, value in labels):
            metric.remove(*(value for _, value in labels))
