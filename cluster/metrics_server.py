"""Serve the metrics of all processes of a constellation together, on one port of the launcher."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry

from constellation.errors import ConfigError, DeploymentError
from constellation.settings import Settings
from constellation.telemetry.aggregate import AllMetrics
from constellation.telemetry.process_metrics import serve_metrics

HOST: Final = "127.0.0.1"
"""Address of the metrics port; requests carry no token, so only this machine can reach it."""
OFFSET: Final = 200
"""Default distance from `serve.port`; greater than the ports of 64 routers with two each."""
_PORT_MAX: Final = 65_535


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


class MetricsDoor:
    """HTTP server of the metrics of all processes.

    Attributes:
        targets: Member -> host:port of the member's own /metrics; set anew after every change.
        endpoint: host:port at which all metrics are served together, once `open` was entered.
    """

    def __init__(self) -> None:
        self.targets: Mapping[str, str] = {}
        self.endpoint = ""

    @contextmanager
    def open(self, settings: Settings) -> Iterator[None]:
        """Serve metrics while the block runs.

        Raises:
            ConfigError: As `metrics_port_of`.
            DeploymentError: Another process listens at the port.
        """
        registry = CollectorRegistry()
        registry.register(AllMetrics(lambda: self.targets))
        port = metrics_port_of(settings)
        try:
            self.endpoint, close = serve_metrics(registry, HOST, port)
        except OSError as error:
            raise DeploymentError(
                f"cannot serve metrics on {HOST}:{port}: {error.strerror}; choose another port "
                "with serve.metrics_port"
            ) from error
        try:
            yield
        finally:
            close()
