"""What watches in `benchmarks.watching_cost` watches: a real Prometheus, and a listener."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.watchers import EventListener, scraping
from tests.watching.prometheus_server import needs_prometheus

pytestmark = pytest.mark.slow


class Node(BaseHTTPRequestHandler):
    """A launcher with one target, itself, and a router with three events."""

    def do_GET(self) -> None:
        host, port = self.server.server_address[:2]
        body = {
            "/targets": json.dumps([{"targets": [f"{host!s}:{port}"], "labels": {"node": "n"}}]),
            "/metrics": "constellation_node_up 1\n",
            "/status/events": "data: {}\n\n" * 3,
        }[self.path]
        kind = "application/json" if self.path == "/targets" else "text/plain"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def node() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Node) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@needs_prometheus
def test_prometheus_scrapes_with_the_shipped_configuration_and_is_ended(node: str) -> None:
    with scraping(node) as found:
        found.check()
        assert found.process.name() == "prometheus"
    assert not found.process.is_running()


def test_a_listener_counts_events_and_says_when_there_are_too_few(node: str) -> None:
    with EventListener(f"http://{node}/v1") as listener:
        listener.join(10)
    assert listener.num_events == 3
    listener.check(seconds=6)
    with pytest.raises(SystemExit, match="3 events in 7 s; one a second is due"):
        listener.check(seconds=7)
