"""Tracing spans by the OpenTelemetry SDK: begin, annotate, end, and export to a collector.

Imported only when tracing is on, by `tracing.open_tracing`. Parent spans are passed explicitly:
OpenTelemetry's current span and global provider are not used, since other libraries of the process
may use them.
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
"""Most ended spans that wait for export; when the queue is full, the oldest span is dropped."""
BATCH_MAX = 512
"""Most spans per export."""
DELAY_S = 1.0
"""Seconds after which an incomplete batch is exported."""
TIMEOUT_S = 5.0
"""Most seconds for exporting a batch, retries included."""
LIMITS = SpanLimits(
    max_span_attributes=64,
    max_events=64,
    max_links=0,
    max_event_attributes=16,
    max_span_attribute_length=256,
)
"""Limits of one span; spans of this project stay far below, except for answers with many failovers
or handoffs."""

_PROPAGATOR = TraceContextTextMapPropagator()
_Fact = str | int | float | bool


class OpenTelemetrySpan:
    """One span of a request; implements `constellation.wire.request_tracing.Span`."""

    __slots__ = ("_span", "_tracer", "trace_id")

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self.trace_id = format_trace_id(span.get_span_context().trace_id)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Headers that pass this span to a called process: traceparent and tracestate."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(self._span, Context()))
        return tuple(carrier.items())

    def child(
        self, name: str, facts: Mapping[str, _Fact], *, is_call: bool = False
    ) -> "OpenTelemetrySpan":
        """Begin a child span."""
        span = self._tracer.start_span(
            name,
            set_span_in_context(self._span, Context()),
            SpanKind.CLIENT if is_call else SpanKind.INTERNAL,
            facts,
        )
        return OpenTelemetrySpan(self._tracer, span)

    def note(self, facts: Mapping[str, _Fact]) -> None:
        """Add attributes to the span."""
        self._span.set_attributes(facts)

    def event(self, name: str, facts: Mapping[str, _Fact]) -> None:
        """Add an event with the current time."""
        self._span.add_event(name, facts)

    def end(self, error: BaseException | None = None) -> None:
        """End the span; a cancellation is recorded as error type but not as a failure."""
        if error is not None:
            self._span.set_attribute("error.type", type(error).__name__)
            if isinstance(error, Exception):
                self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class OpenTelemetryTracing:
    """Begins the spans of one process; implements `constellation.wire.request_tracing.Tracing`.

    Args:
        options: Endpoint of the collector and sampling ratio.
        service: Name of the type of process.
        instance: Name of this process.
        count: Function called with an outcome and a number of spans, from any thread.
    """

    def __init__(
        self,
        options: TracingOptions,
        *,
        service: str,
        instance: str,
        count: Callable[[str, int], None],
    ) -> None:
        # `_Counted` logs once that a collector is unreachable; the SDK would log it every time.
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
        """Begin a request's span, as a child of the span in the headers if there is one."""
        carrier: dict[str, list[str]] = {}
        for key, value in headers:
            lower = key.lower()
            if lower in _PROPAGATOR.fields:
                carrier.setdefault(lower, []).append(value)
        if len(carrier.get("traceparent", ())) != 1:
            carrier = {}  # two such headers do not name a parent
        parent = _PROPAGATOR.extract(carrier, Context())
        return OpenTelemetrySpan(
            self._tracer, self._tracer.start_span(name, parent, SpanKind.SERVER, facts)
        )

    def flush(self) -> None:
        """Export all ended spans; blocks, at most `TIMEOUT_S` per batch."""
        self._provider.force_flush()

    def close(self) -> None:
        """Export all ended spans and begin no more spans; blocks like `flush`."""
        self._provider.shutdown()


class _Counted(SpanExporter):
    """Exports spans, counts the outcomes, and logs when the collector is lost or back."""

    def __init__(self, exporter: SpanExporter, count: Callable[[str, int], None]) -> None:
        self._exporter = exporter
        self._fails = False
        self._waiting = 0
        self._lock = threading.Lock()
        self.count = count

    def enter(self) -> None:
        """Count a span that enters the queue; when the queue is full, count a dropped span."""
        with self._lock:
            is_full = self._waiting >= QUEUE_MAX
            self._waiting += not is_full
        if is_full:
            self.count("dropped", 1)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans to the collector."""
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
        """Stop exporting."""
        self._exporter.shutdown()


class _Batches(BatchSpanProcessor):
    """Queues ended spans, in bounded number, and exports them in batches from a thread."""

    def __init__(self, exporter: _Counted) -> None:
        super().__init__(
            exporter,
            max_queue_size=QUEUE_MAX,
            schedule_delay_millis=DELAY_S * 1000,
            max_export_batch_size=BATCH_MAX,
        )
        self._counted = exporter

    def on_end(self, span: ReadableSpan) -> None:
        """Enqueue an ended span if it is sampled."""
        context = span.context
        if context is not None and context.trace_flags.sampled:
            self._counted.enter()
        super().on_end(span)
