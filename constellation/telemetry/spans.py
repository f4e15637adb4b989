"""Spans by OpenTelemetry's SDK. Imported when tracing is on, by `tracing.open_tracing` only.

Parents are handed on explicitly: OpenTelemetry's own notion of a current span is left alone, and so
is its global provider, which other libraries of the process may be using.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from constellation.telemetry.tracing import TracingOptions

logger = logging.getLogger(__name__)

QUEUE_MAX = 2048
"""Ended spans that may wait for the collector; of more, the oldest are dropped."""
BATCH_MAX = 512
"""Spans sent at once."""
DELAY_S = 1.0
"""Seconds after which spans are sent that fill no batch."""
TIMEOUT_S = 5.0
"""Seconds the collector may take for a batch, tries included."""
LIMITS = SpanLimits(
    max_span_attributes=64,
    max_events=64,
    max_links=0,
    max_event_attributes=16,
    max_span_attribute_length=256,
)
"""Of one span; our own stay far below, but for an answer that is lost or handed over often."""

_PROPAGATOR = TraceContextTextMapPropagator()
_Fact = str | int | float | bool


class OpenTelemetrySpan:
    """One span; fulfils `constellation.wire.request_tracing.Span`."""

    __slots__ = ("_span", "_tracer", "trace_id")

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self.trace_id = format_trace_id(span.get_span_context().trace_id)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What accompanies a call: traceparent, and tracestate where there is one."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(self._span, Context()))
        return tuple(carrier.items())

    def child(
        self, name: str, facts: Mapping[str, _Fact], *, is_call: bool = False
    ) -> "OpenTelemetrySpan":
        """Begin a part of this work."""
        span = self._tracer.start_span(
            name,
            set_span_in_context(self._span, Context()),
            SpanKind.CLIENT if is_call else SpanKind.INTERNAL,
            facts,
        )
        return OpenTelemetrySpan(self._tracer, span)

    def note(self, facts: Mapping[str, _Fact]) -> None:
        """Add facts."""
        self._span.set_attributes(facts)

    def event(self, name: str, facts: Mapping[str, _Fact]) -> None:
        """Add something that happened just now."""
        self._span.add_event(name, facts)

    def end(self, error: BaseException | None = None) -> None:
        """End the work; a cancellation is named and counts as no failure."""
        if error is not None:
            self._span.set_attribute("error.type", type(error).__name__)
            if isinstance(error, Exception):
                self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class OpenTelemetryTracing:
    """Begins the spans of a process; fulfils `constellation.wire.request_tracing.Tracing`.

    Args:
        options: Where they go.
        service: What kind of process it is.
        instance: Which one.
        count: Is told what became of how many spans, from any thread.
    """

    def __init__(
        self,
        options: TracingOptions,
        *,
        service: str,
        instance: str,
        count: Callable[[str, int], None],
    ) -> None:
        # What it has to say of a collector that is gone, `_Counted` says once.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.CRITICAL)
        resource = Resource.create({"service.name": service, "service.instance.id": instance})
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(options.sample_ratio)),
            resource=resource,
            shutdown_on_exit=False,
            span_limits=LIMITS,
        )
        exporter = OTLPSpanExporter(endpoint=options.endpoint, timeout=TIMEOUT_S)
        self._provider.add_span_processor(_Batches(_Counted(exporter, count)))
        self._tracer = self._provider.get_tracer("constellation")

    def begin(
        self, name: str, headers: Iterable[tuple[str, str]], facts: Mapping[str, _Fact]
    ) -> OpenTelemetrySpan:
        """Begin a request's span, after the one that the headers name, if they name one."""
        carrier: dict[str, list[str]] = {}
        for key, value in headers:
            lower = key.lower()
            if lower in _PROPAGATOR.fields:
                carrier.setdefault(lower, []).append(value)
        if len(carrier.get("traceparent", ())) != 1:
            carrier = {}  # two of them name no parent
        parent = _PROPAGATOR.extract(carrier, Context())
        return OpenTelemetrySpan(
            self._tracer, self._tracer.start_span(name, parent, SpanKind.SERVER, facts)
        )

    def flush(self) -> None:
        """Send what has ended; blocks, at most `TIMEOUT_S` for a batch."""
        self._provider.force_flush()

    def close(self) -> None:
        """Send what has ended and begin nothing more; blocks like `flush`."""
        self._provider.shutdown()


class _Counted(SpanExporter):
    """Counts what becomes of spans, and says when a collector is lost and when it is back."""

    def __init__(self, exporter: SpanExporter, count: Callable[[str, int], None]) -> None:
        self._exporter = exporter
        self._fails = False
        self._waiting = 0
        self._lock = threading.Lock()
        self.count = count

    def enter(self) -> None:
        """Take notice that a span waits; when there is no room, the oldest goes."""
        with self._lock:
            is_full = self._waiting >= QUEUE_MAX
            self._waiting += not is_full
        if is_full:
            self.count("dropped", 1)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        with self._lock:
            self._waiting -= len(spans)
        result = self._exporter.export(spans)
        fails = result is not SpanExportResult.SUCCESS
        self.count("failed" if fails else "exported", len(spans))
        if fails and not self._fails:
            logger.warning("spans not exported", extra={"spans": len(spans)})
        elif self._fails and not fails:
            logger.info("spans exported again", extra={"spans": len(spans)})
        self._fails = fails
        return result

    def shutdown(self) -> None:
        """Send nothing more."""
        self._exporter.shutdown()


class _Batches(BatchSpanProcessor):
    """Gathers ended spans in a bounded queue and sends them from a thread."""

    def __init__(self, exporter: _Counted) -> None:
        super().__init__(
            exporter,
            max_queue_size=QUEUE_MAX,
            schedule_delay_millis=DELAY_S * 1000,
            max_export_batch_size=BATCH_MAX,
        )
        self._counted = exporter

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that is to be kept."""
        context = span.context
        if context is not None and context.trace_flags.sampled:
            self._counted.enter()
        super().on_end(span)
