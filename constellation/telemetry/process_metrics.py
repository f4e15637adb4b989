"""Metrics that every process of a constellation has, and the HTTP server for one process's metrics.

The catalogues of routers, kernels and registry (`constellation/telemetry/metrics.py`) start from
`ProcessMetrics`.
"""

import ssl
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import version
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)

from constellation.telemetry.metrics_over_tls import tls_metrics_server

PREFIX = "constellation_"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Upper bounds of the buckets of durations."""

WRITE_FAILURES = Counter(
    PREFIX + "write_failures_total",
    "Writes to the run folder that failed, by file.",
    ["file"],
    registry=None,
)
"""One counter per process, shared by all catalogues, because files are written by code without
access to a catalogue."""
READ_FAILURES = Counter(
    PREFIX + "read_failures_total",
    "Files that could not be read for status, page and metrics, by file.",
    ["file"],
    registry=None,
)
"""One counter per process, as for writes."""
BACKGROUND_FAILURES = Counter(
    PREFIX + "background_failures_total",
    "Background tasks that ended with an error, by task; each is a mistake of the program.",
    ["task"],
    registry=None,
)
"""One counter per process, shared by all catalogues."""


class ProcessMetrics:
    """Build, CPU, memory and files of this process, failed writes, and failed background tasks.

    The collector of `process_*` reads /proc; on other systems than Linux these metrics are missing.

    Args:
        registry: The registry of the process, from which `serve_metrics` reads.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry
        ProcessCollector(registry=registry)
        self.build = self._gauge(
            "build_info", "1; the label is the version of the package.", "version"
        )
        self.build.labels(version("constellation-runtime")).set(1)
        self.write_failures = _shared(WRITE_FAILURES, registry)
        self.read_failures = _shared(READ_FAILURES, registry)
        self.background_failures = _shared(BACKGROUND_FAILURES, registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(PREFIX + name, what, labels, registry=self.registry)

    def _histogram(
        self, name: str, what: str, *labels: str, buckets: Sequence[float] = SECONDS
    ) -> Histogram:
        return Histogram(PREFIX + name, what, labels, buckets=buckets, registry=self.registry)


def _shared(counter: Counter, registry: CollectorRegistry) -> Counter:
    registry.register(counter)
    return counter


def serve_metrics(
    registry: CollectorRegistry,
    host: str,
    port: int = 0,
    *,
    context: ssl.SSLContext | None = None,
) -> tuple[str, Callable[[], None]]:
    """Serve a registry's metrics at http://host:port/metrics; port 0 means a free port.

    Args:
        registry: The registry of the process.
        host: Address to listen on.
        port: TCP port; 0 means a free one.
        context: TLS of the server, for https; None means unencrypted http.

    Returns:
        host:port, and a function that stops the server.

    Raises:
        OSError: The port is in use.
    """
    server: WSGIServer
    if context is None:
        server, thread = start_http_server(port, addr=host, registry=registry)
    else:
        server = tls_metrics_server(registry, host, port, context)
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return f"{host}:{server.server_port}", stop
