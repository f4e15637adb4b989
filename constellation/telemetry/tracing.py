"""Tracing by OpenTelemetry, if it is wanted: off by default, and then nothing of it is imported.

Spans go by OTLP over HTTP to a collector, in batches, from a thread of their own. A collector that
is slow or gone costs spans, never a request.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from constellation.errors import ConfigError, how_to_install

if TYPE_CHECKING:
    from constellation.telemetry.spans import OpenTelemetryTracing

_EXPORTER = "opentelemetry.exporter.otlp.proto.http"
_SCHEMES = ("http://", "https://")

SPAN_OUTCOMES = ("exported", "failed", "dropped")
"""Spans the collector took, those it did not take, those for which there was no room."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TracingOptions:
    """Where spans go.

    Raises:
        ConfigError: A value is out of its range.
    """

    endpoint: str
    """URL at which a collector takes traces by OTLP over HTTP."""
    sample_ratio: float = 1.0
    """Share of the traces begun here that is kept, in [0, 1]; callers decide about theirs."""

    def __post_init__(self) -> None:
        if not self.endpoint.lower().startswith(_SCHEMES):
            raise ConfigError(
                f"tracing.endpoint is {self.endpoint!r}; give a URL such as "
                "http://localhost:4318/v1/traces"
            )
        if not 0 <= self.sample_ratio <= 1:
            raise ConfigError(f"tracing.sample_ratio is {self.sample_ratio}; allowed: 0 to 1")


def check_installed() -> None:
    """Raise `ConfigError` when the packages for tracing are missing; loads none of them."""
    try:
        found = find_spec(_EXPORTER) is not None and find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:  # of a package around them
        found = False
    if not found:
        raise ConfigError(
            "tracing.endpoint is set and OpenTelemetry is not installed; leave tracing.endpoint "
            f"out, or install it {how_to_install('tracing')}"
        )


def open_tracing(
    options: TracingOptions, *, service: str, instance: str, count: Callable[[str, int], None]
) -> "OpenTelemetryTracing":
    """Return what begins the spans of a process.

    Args:
        options: Where they go.
        service: What kind of process it is, such as "constellation-router".
        instance: Which one, such as "router-2".
        count: Is told an outcome of `SPAN_OUTCOMES` and a number of spans, from any thread.

    Raises:
        ConfigError: The packages are missing.
    """
    check_installed()
    from constellation.telemetry.spans import OpenTelemetryTracing

    return OpenTelemetryTracing(options, service=service, instance=instance, count=count)
