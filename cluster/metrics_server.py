"""One port for the metrics of a whole constellation, served by the launcher."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry

from constellation.errors import ConfigError, DeploymentError
from constellation.settings import Settings
from constellation.telemetry.aggregate import AllMetrics
from constellation.telemetry.metrics import serve_metrics

HOST: Final = "127.0.0.1"
"""Nobody is asked for a token there, so it is open to this machine alone."""
OFFSET: Final = 200
"""From `serve.port`; beyond the ports of 64 routers, each with two."""
_PORT_MAX: Final = 65_535


def metrics_port_of(settings: Settings) -> int:
    """Return the port for metrics that the configuration means; 0 lets the system choose.

    Raises:
        ConfigError: A router would listen there.
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
    """Serves the metrics of all processes.

    Attributes:
        targets: Member -> host:port of its own /metrics; whoever learns of a change sets it.
        endpoint: host:port at which they are served together, once it is open.
    """

    def __init__(self) -> None:
        self.targets: Mapping[str, str] = {}
        self.endpoint = ""

    @contextmanager
    def open(self, settings: Settings) -> Iterator[None]:
        """Serve until the end.

        Raises:
            ConfigError: As `metrics_port_of`.
            DeploymentError: Somebody listens at the port.
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
