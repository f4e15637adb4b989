"""A collector of traces: takes OTLP over HTTP, as a real one does, and keeps what came."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collected:
    """One span as it came."""

    def __init__(self, service: str, span: Span) -> None:
        self.service = service
        self.name = span.name
        self.kind = span.kind
        self.trace_id = span.trace_id.hex()
        self.span_id = span.span_id.hex()
        self.parent_id = span.parent_span_id.hex()
        self.facts = {each.key: _value(each.value) for each in span.attributes}
        self.events = [event.name for event in span.events]
        self.is_failure = span.status.code == span.status.STATUS_CODE_ERROR


class Collector:
    """Use with `with`; `endpoint` is where spans go."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.go = threading.Event()
        """While it is not set, nobody is answered."""
        self.go.set()
        self.asked = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.asked.set()
                assert collector.go.wait(20)
                collector.raw.append(body)
                reply = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def spans(self) -> list[Collected]:
        """Return all that came."""
        return [
            Collected(_value(resource.resource.attributes[_service(resource)].value), span)
            for body in self.raw
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def _service(resource: Any) -> int:
    return [each.key for each in resource.resource.attributes].index("service.name")


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
