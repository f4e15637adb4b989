"""Metrics of a process over mutual TLS: the HTTPS server, and the connection of whoever reads.

Metrics name kernels and count requests, which no other machine needs to see.
"""

import http.client
import socket
import ssl
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

SILENT_S = 5.0
"""Seconds that a caller may send nothing before its connection is closed."""


class _TlsServer(ThreadingMixIn, WSGIServer):
    """Server whose TLS handshakes are made by the thread of each connection."""

    daemon_threads = True
    context: ssl.SSLContext

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, without waiting for the caller's handshake."""
        accepted, address = super().get_request()
        accepted.settimeout(SILENT_S)
        wrapped = self.context.wrap_socket(
            accepted, server_side=True, do_handshake_on_connect=False
        )
        return wrapped, address

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a caller that is no TLS client, shows no certificate, or goes away."""


class _QuietHandler(WSGIRequestHandler):
    timeout = SILENT_S

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing for a request."""


def tls_metrics_server(
    registry: CollectorRegistry, host: str, port: int, context: ssl.SSLContext
) -> WSGIServer:
    """Return a server of a registry's metrics, which listens and does not answer yet.

    Args:
        registry: The registry of the process.
        host: Address to listen on.
        port: TCP port; 0 means a free one.
        context: TLS of the server, which decides who may connect.

    Raises:
        OSError: The port is in use.
    """
    app: Any = make_wsgi_app(registry)
    server = make_server(host, port, app, _TlsServer, _QuietHandler)
    server.context = context
    return server


class TlsConnection(http.client.HTTPConnection):
    """HTTP over TLS to a server with a given name, whatever its address.

    Args:
        endpoint: host:port.
        context: TLS of the client.
        name: Name that the server's certificate must hold.
        timeout: Seconds that the server may take.
    """

    def __init__(
        self, endpoint: str, context: ssl.SSLContext, name: str | None, *, timeout: float
    ) -> None:
        super().__init__(endpoint, timeout=timeout)
        self._context = context
        self._name = name

    def connect(self) -> None:
        """Connect, and check the certificate of the server.

        Raises:
            OSError: The server does not answer, or has no certificate of the authority.
        """
        super().connect()
        name = self._name or self.host
        self.sock = self._context.wrap_socket(self.sock, server_hostname=name)
