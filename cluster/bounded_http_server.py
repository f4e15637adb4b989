"""A small HTTP server for GET requests of monitoring programs, with bounded connections.

WSGI (PEP 3333) on the standard library's server, in threads of the calling process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from threading import BoundedSemaphore, Thread
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import WSGIApplication

CONNECTIONS_MAX: Final = 16
"""Connections that may be open; further connections are closed at once."""
IDLE_S: Final = 5.0
"""Seconds that a connected program may take to send its request or to read the reply."""


class _Handler(WSGIRequestHandler):
    timeout = IDLE_S

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: a monitoring program asks every few seconds."""

    def address_string(self) -> str:
        """Return the address without asking for its name."""
        return str(self.client_address[0])


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self._free = BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own, or close it when too many are open."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a program has closed its connection early."""


@contextmanager
def serving(app: WSGIApplication, host: str, port: int) -> Iterator[str]:
    """Serve an application in threads while the block runs; yield its host:port.

    Args:
        app: The application.
        host: Address to listen at.
        port: TCP port; 0 lets the system choose.

    Raises:
        OSError: The port is in use.
    """
    with make_server(host, port, app, _Server, _Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.1,), name="metrics server")
        thread.daemon = True
        thread.start()
        try:
            yield f"{host}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
