"""Optional tracing by OpenTelemetry: options, check of the packages, and start of the exporter.

Tracing is off by default, and then OpenTelemetry is not imported. Spans are sent to a collector by
OTLP over HTTP, in batches, from a separate thread. A slow or unreachable collector loses spans but
never delays a request.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from constellation.errors import ConfigError
from constellation.extras import how_to_install

if TYPE_CHECKING:
    from constellation.telemetry.spans import OpenTelemetryTracing

_EXPORTER = "opentelemetry.exporter.otlp.proto.http"
_SCHEMES = ("http://", "https://")

SPAN_OUTCOMES = ("exported", "failed", "dropped")
"""Spans that the collector accepted, spans that it did not accept, spans that found a full
queue."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TracingOptions:
    """Endpoint of the trace collector, and the share of traces to keep.

    Raises:
        ConfigError: A value is out of its range.
    """

    endpoint: str
    """URL of a collector that accepts traces by OTLP over HTTP."""
    sample_ratio: float = 1.0
    """Share of the traces begun here that is kept, in [0, 1]; a caller who sends a trace decides
    about that trace."""

    def __post_init__(self) -> None:
        if not self.endpoint.lower().startswith(_SCHEMES):
            raise ConfigError(
                f"tracing.endpoint is {self.endpoint!r}; give a URL such as "
                "http://localhost:4318/v1/traces"
            )
        if not 0 <= self.sample_ratio <= 1:
            raise ConfigError(f"tracing.sample_ratio is {self.sample_ratio}; allowed: 0 to 1")


def check_installed() -> None:
    """Raise `ConfigError` when packages for tracing are missing; imports none of them."""
    try:
        found = find_spec(_EXPORTER) is not None and find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:  # a parent package is missing
        found = False
    if not found:
        raise ConfigError(
            "tracing.endpoint is set and OpenTelemetry is not installed; leave tracing.endpoint "
            f"out, or install it {how_to_install('tracing')}"
        )


def open_tracing(
    options: TracingOptions, *, service: str, instance: str, count: Callable[[str, int], None]
) -> "OpenTelemetryTracing":
    """Start tracing in this process; return the object that begins spans.

    Args:
        options: Endpoint of the collector and sampling ratio.
        service: Name of the type of process, such as "constellation-router".
        instance: Name of this process, such as "router-2".
        count: Function called with an outcome of `SPAN_OUTCOMES` and a number of spans, from any
            thread.

    Raises:
        ConfigError: A package for tracing is missing.
    """
    check_installed()
    from constellation.telemetry.spans import OpenTelemetryTracing

    return OpenTelemetryTracing(options, service=service, instance=instance, count=count)
