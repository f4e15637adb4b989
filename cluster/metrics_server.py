"""Serve the metrics of all processes of a node together, and the lists of scrape targets.

    GET /metrics             all processes, the node and the training: Prometheus' text format 0.0.4
    GET /targets             this node's /metrics, as Prometheus' http_sd reads targets
    GET /targets/processes   every process's own /metrics, in the same form

A request writes nothing.
"""

import gzip
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, generate_latest

from cluster.bounded_http_server import serving
from cluster.node_collector import NodeCollector, node_name
from constellation.errors import ConfigError, DeploymentError
from constellation.loopback import LOOPBACK_ADDRESS
from constellation.settings import Settings
from constellation.telemetry.aggregate import SCRAPE_S, ReaderTls, collect, merge
from constellation.telemetry.process_metrics import ProcessMetrics

HOST: Final = LOOPBACK_ADDRESS
"""Address of the metrics port; requests carry no token, so only this machine can reach it."""
OFFSET: Final = 200
"""Default distance from `serve.port`; greater than the ports of 64 routers with two each."""
LAUNCHER: Final = "launcher"
"""Value of the label `member` for the process that serves this port."""
_PORT_MAX: Final = 65_535
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_PLAIN: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_GZIP_LEVEL: Final = 1
"""A tenth of the processor time of level 9, and a fifth more bytes."""

_Reply = tuple[str, str, bytes]
"""Status, content type and body."""


def metrics_port_of(settings: Settings) -> int:
    """Return the TCP port for metrics of a configuration; 0 lets the system choose.

    Raises:
        ConfigError: The configured port belongs to a router.
    """
    serve = settings.serve
    port = serve.metrics_port
    if port is None:
        wanted = serve.port + OFFSET
        return wanted if serve.port and wanted <= _PORT_MAX else 0
    first_http = serve.port + serve.routers if serve.http_port is None else serve.http_port
    for first in (serve.port, first_http):
        if port and first and first <= port < first + serve.routers:
            raise ConfigError(f"serve.metrics_port is {port}, where a router listens; set another")
    return port


class MetricsServer:
    """HTTP server of the metrics of all processes of this node.

    Args:
        settings: Of the constellation: port, artifacts and run folder.
        tls: For reading the metrics of processes; None means unencrypted.

    Attributes:
        targets: Member -> host:port of the member's own /metrics; set anew after every change.
        endpoint: host:port at which all metrics are served together, once `open` was entered.

    Raises:
        ConfigError: As `metrics_port_of`.
    """

    def __init__(self, settings: Settings, tls: ReaderTls | None = None) -> None:
        self._tls = tls
        self.targets: Mapping[str, str] = {}
        self.endpoint = ""
        self._port = metrics_port_of(settings)
        self._node = NodeCollector(settings.artifacts.resolve(), settings.run_dir.resolve())
        self._process = ProcessMetrics(CollectorRegistry())
        self._one_at_a_time = threading.Lock()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Serve metrics while the block runs.

        Raises:
            DeploymentError: Another process listens at the port.
        """
        server = serving(self._answer, HOST, self._port)
        try:
            self.endpoint = server.__enter__()
        except OSError as error:
            raise DeploymentError(
                f"cannot serve metrics on {HOST}:{self._port}: {error.strerror}; choose another "
                "port with serve.metrics_port"
            ) from error
        try:
            yield
        finally:
            server.__exit__(None, None, None)

    def metrics_text(self) -> str:
        """Return the metrics of all processes, of the node and of the training."""
        texts, node = collect(dict(self.targets), self._tls), self._node.text()
        own = generate_latest(self._process.registry).decode()
        return merge({LAUNCHER: own, **texts}, node)

    def _answer(self, request: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Answer one request, as WSGI defines."""
        status, kind, body = self._reply(request["REQUEST_METHOD"], request["PATH_INFO"])
        headers = [("Content-Type", kind), ("Vary", "Accept-Encoding")]
        if "gzip" in request.get("HTTP_ACCEPT_ENCODING", ""):
            body = gzip.compress(body, _GZIP_LEVEL)
            headers.append(("Content-Encoding", "gzip"))
        start(status, [*headers, ("Content-Length", str(len(body)))])
        return [] if request["REQUEST_METHOD"] == "HEAD" else [body]

    def _reply(self, method: str, path: str) -> _Reply:
        if method not in ("GET", "HEAD"):
            return "405 Method Not Allowed", _PLAIN, b"only GET and HEAD\n"
        if path == "/metrics":
            return self._metrics()
        if path == "/targets":
            return _target_list({node_name(): self.endpoint}, "node")
        if path == "/targets/processes":
            return _target_list(self.targets, "member")
        known = b"not found; there are /metrics, /targets and /targets/processes\n"
        return "404 Not Found", _PLAIN, known

    def _metrics(self) -> _Reply:
        """Return all metrics; scrapes that come meanwhile wait, and are refused after a while."""
        if not self._one_at_a_time.acquire(timeout=SCRAPE_S):
            return "503 Service Unavailable", _PLAIN, b"another scrape is in progress\n"
        try:
            return "200 OK", _TEXT, self.metrics_text().encode()
        finally:
            self._one_at_a_time.release()


def _target_list(endpoints: Mapping[str, str], label: str) -> _Reply:
    """Return endpoints in the form that Prometheus' http_sd reads."""
    groups = [
        {"targets": [endpoint], "labels": {label: name}}
        for name, endpoint in sorted(endpoints.items())
    ]
    return "200 OK", _JSON, json.dumps(groups).encode()
