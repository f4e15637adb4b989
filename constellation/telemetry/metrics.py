"""All Prometheus metrics of routers, kernels and registry, each declared once.

Names of metrics are API and are tested. A process creates one catalogue on its own registry and
serves it on one loopback port. Label values come from closed sets (kernels, modes, outcomes, error
classes), never from ids.
"""

from collections.abc import Callable
from contextlib import suppress
from math import nan

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_RADIANS = (*tuple(0.05 * step for step in range(1, 20)), 1.2, 1.5, 2.0, 2.5, 3.15)

WRITE_FAILURES = Counter(
    "constellation_write_failures_total",
    "Writes to the run folder that failed, by file.",
    ["file"],
    registry=None,
)
"""One counter per process, shared by all catalogues, because files are written by code without
access to a catalogue."""
READ_FAILURES = Counter(
    "constellation_read_failures_total",
    "Files that the registry could not read for the overview of a constellation, by file.",
    ["file"],
    registry=None,
)
"""One counter per process, as for writes."""
BACKGROUND_FAILURES = Counter(
    "constellation_background_failures_total",
    "Background tasks that ended by an error, by task; a mistake of ours.",
    ["task"],
    registry=None,
)
"""One counter per process, shared by all catalogues."""


class RouterMetrics:
    """Metrics of a router process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        prefix = "constellation_"
        self.requests = Counter(
            prefix + "requests_total",
            "Requests answered or refused.",
            ["mode", "outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            prefix + "request_seconds",
            "From arrival to the last byte.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.first_token_seconds = Histogram(
            prefix + "time_to_first_token_seconds",
            "From arrival to the first text.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.distance = Histogram(
            prefix + "route_distance_radians",
            "Distance from query to the kernel that answered.",
            buckets=_RADIANS,
            registry=registry,
        )
        self.margin = Histogram(
            prefix + "route_margin_radians",
            "Second distance minus first.",
            buckets=_RADIANS,
            registry=registry,
        )
        self.routes = Counter(
            prefix + "route_total", "Routes taken.", ["kernel", "reason"], registry=registry
        )
        self.load_entropy = Gauge(
            prefix + "route_load_entropy_ratio",
            "Entropy of routes over ln(number of kernels); near 0 means collapse onto one.",
            registry=registry,
        )
        self.out_of_domain = Counter(
            prefix + "out_of_domain_total",
            "Queries beyond every radius for their length.",
            registry=registry,
        )
        self.failovers = Counter(
            prefix + "failovers_total",
            "Requests taken over from a kernel that was lost.",
            ["kernel"],
            registry=registry,
        )
        self.handoffs = Counter(
            prefix + "handoffs_total",
            "Answers handed from one kernel to another that had become nearer.",
            ["source", "target"],
            registry=registry,
        )
        self.table_version = Gauge(
            prefix + "table_version", "Version of the table in use.", registry=registry
        )
        self.collective_phi = Gauge(
            prefix + "collective_phi_bits",
            "Best single kernel minus constellation, bits per byte of sampled prompts; or NaN.",
            registry=registry,
        )
        self.collective_phi.set(nan)
        self.rejected = rejected_counter(registry)
        self.spans = spans_counter(registry)
        self.write_failures = _shared(WRITE_FAILURES, registry)
        self.background_failures = _shared(BACKGROUND_FAILURES, registry)


TOKEN_KINDS = ("prompt", "completion", "score")
"""Values of the label `kind` of the token counter."""


class KernelMetrics:
    """Metrics of a process that runs kernels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        prefix = "constellation_"
        self.tokens = Counter(
            prefix + "tokens_total",
            "Tokens read (kind=prompt), written (completion) or scored (score).",
            ["kernel", "kind"],
            registry=registry,
        )
        self.inter_token_seconds = Histogram(
            prefix + "inter_token_seconds",
            "Between two tokens of one answer.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.queue_depth = Gauge(
            prefix + "queue_depth", "Requests waiting.", ["kernel"], registry=registry
        )
        self.running = Gauge(
            prefix + "running_requests", "Requests being worked on.", ["kernel"], registry=registry
        )
        self.cache_usage = Gauge(
            prefix + "kv_cache_usage_ratio",
            "Filled share of the key-value caches' capacity, over all slots.",
            ["kernel"],
            registry=registry,
        )
        self.kappa = Gauge(
            prefix + "kernel_kappa",
            "Mean learned attention coupling over heads and layers.",
            ["kernel"],
            registry=registry,
        )
        self.rejected = rejected_counter(registry)
        self.spans = spans_counter(registry)
        self.write_failures = _shared(WRITE_FAILURES, registry)
        self.background_failures = _shared(BACKGROUND_FAILURES, registry)

    def forget(self, kernel: str) -> None:
        """Remove the metrics of a kernel that has left."""
        for kind in TOKEN_KINDS:
            self.tokens.remove(kernel, kind)
        for metric in (self.queue_depth, self.running, self.cache_usage, self.kappa):
            with suppress(KeyError):  # not every kernel has a coupling
                metric.remove(kernel)


class RegistryMetrics:
    """Metrics of the registry process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        prefix = "constellation_"
        self.up = Gauge(
            prefix + "kernel_up", "1 while the kernel answers.", ["kernel"], registry=registry
        )
        self.restarts = Counter(
            prefix + "kernel_restarts_total",
            "Restarts of the kernel's process.",
            ["kernel"],
            registry=registry,
        )
        self.phi = Gauge(
            prefix + "kernel_phi_ratio",
            "phi_gauge of the kernel, as measured after training.",
            ["kernel"],
            registry=registry,
        )
        self.arrived = Gauge(
            prefix + "kernel_arrived_ratio",
            "Share of the kernel's held-out passages that are routed to it, by the bearing rule.",
            ["kernel"],
            registry=registry,
        )
        self.basin_spread = Gauge(
            prefix + "basin_spread_radians",
            "Mean Fisher-Rao distance between the kernels' basins.",
            registry=registry,
        )
        self.table_version = Gauge(
            prefix + "table_version", "Version of the newest table.", registry=registry
        )
        self.write_failures = _shared(WRITE_FAILURES, registry)
        self.read_failures = _shared(READ_FAILURES, registry)
        self.background_failures = _shared(BACKGROUND_FAILURES, registry)
        self.can_start = Gauge(
            prefix + "process_start_possible",
            "1 while a process that dies can be started again; 0: Ray's folder was emptied.",
            registry=registry,
        )
        self.can_start.set(1)
        self.fork_server_up = Gauge(
            prefix + "fork_server_up",
            "1 while processes are forked, 0 when they start slowly instead; NaN: not wanted here.",
            registry=registry,
        )
        self.fork_server_up.set(nan)

    def forget(self, kernel: str) -> None:
        """Remove the metrics of a kernel that has left."""
        for metric in (self.up, self.restarts, self.phi, self.arrived):
            with suppress(KeyError):  # not every kernel has been measured
                metric.remove(kernel)


def _shared(counter: Counter, registry: CollectorRegistry) -> Counter:
    registry.register(counter)
    return counter


def rejected_counter(registry: CollectorRegistry) -> Counter:
    """Return the counter of refused requests, by error class."""
    return Counter(
        "constellation_rejected_total",
        "Requests refused, by error class; InternalError is a mistake of ours.",
        ["reason"],
        registry=registry,
    )


def spans_counter(registry: CollectorRegistry) -> Counter:
    """Return the counter of tracing spans, by outcome (exported, failed, dropped)."""
    return Counter(
        "constellation_spans_total",
        "Spans that the collector took (exported), did not take (failed), or that found no room.",
        ["outcome"],
        registry=registry,
    )


def serve_metrics(
    registry: CollectorRegistry, host: str, port: int = 0
) -> tuple[str, Callable[[], None]]:
    """Serve a registry's metrics at http://host:port/metrics; port 0 means a free port.

    Returns:
        host:port, and a function that stops the server.

    Raises:
        OSError: The port is in use.
    """
    server, thread = start_http_server(port, addr=host, registry=registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return f"{host}:{server.server_port}", stop
