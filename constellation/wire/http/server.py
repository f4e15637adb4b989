"""The HTTP server: who may connect and call, how much they may send, how long they may take.

No CORS headers are sent, so browsers keep other sites' pages out; on loopback the Host header must
name loopback, so that a name that was made to point here does not get around that.
"""

import asyncio
import hmac
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from constellation.errors import (
    ConstellationError,
    DeploymentError,
    InvalidRequest,
    MessageTooLarge,
    Overloaded,
    Unauthenticated,
)
from constellation.wire import access_log
from constellation.wire.channel import (
    LOOPBACK,
    MESSAGE_BYTES_MAX,
    Bind,
    authority,
    presented_token,
)
from constellation.wire.http.error_replies import http_problem, problem
from constellation.wire.http.gateway import (
    REQUEST_ID,
    Gateway,
    cut,
    encode,
    refusal,
    request_headers,
)
from constellation.wire.services import Guard

logger = logging.getLogger(__name__)

CONNECTIONS_MAX = 512
"""Connections that may be open unless settings say otherwise."""

_IDLE_S = 30.0
"""Seconds a connection may be open without sending a whole request's head."""
_HANDSHAKE_S = 5.0
"""Seconds the handshake of TLS may take; until it is done a connection is not counted."""
_LINGER_S = 1.0
"""Seconds in which the rest of a body that was refused is still taken."""
_REFUSED_S = 1.0
"""Seconds a connection beyond the limit may take to hear that it is."""
_OPEN_PATHS = frozenset({"/health"})
_OWN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REASON = {
    400: "this is not HTTP/1.1",
    404: "there is nothing here; see /openapi.json",
    431: "the head of the request is too long: a line of it may have 8190 bytes",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpDoor:
    """A running HTTP server over one gateway."""

    def __init__(
        self, gateway: Gateway, guard: Guard, bind: Bind, *, connections_max: int = CONNECTIONS_MAX
    ) -> None:
        """Put the server together; `start` opens it.

        Args:
            gateway: The endpoints.
            guard: Answers for their errors; has the access log.
            bind: Where it listens, who may call, and the TLS files.
            connections_max: Connections that may be open; the next one is told to come back.
        """
        self._guard = guard
        self._stall_s = gateway.stall_s
        self._bind = bind
        self._connections_max = connections_max
        self._expected = (bind.token or "").encode()
        app = web.Application(client_max_size=MESSAGE_BYTES_MAX, middlewares=[self._middleware])
        app.add_routes(gateway.routes())
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        self._listener: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; return the host:port.

        Raises:
            ConfigError: A TLS file is not what it should be.
            DeploymentError: The port is taken or the address is not this machine's.
        """
        tls = None if self._bind.tls is None else self._bind.tls.context()
        await self._runner.setup()
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._connection,
                self._bind.host,
                self._bind.port,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else _HANDSHAKE_S,
            )
        except OSError as error:
            await self._runner.cleanup()
            raise DeploymentError(
                f"cannot listen on {authority(self._bind.host, self._bind.port)}: the port is "
                "taken or the address is not this machine's; choose another with --http-port"
            ) from error
        return authority(self._bind.host, self._listener.sockets[0].getsockname()[1])

    async def stop(self, *, grace_s: float) -> None:
        """Accept nothing more, finish what runs within `grace_s`, then close."""
        if self._listener is not None:
            self._listener.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._runner.cleanup()

    @property
    def num_connections(self) -> int:
        """Connections that are open, those that were refused left out."""
        server = self._runner.server
        return 0 if server is None else len(server.connections)

    def _connection(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None
        if self.num_connections >= self._connections_max:
            return _Refusal(self._connections_max)
        return _Connection(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=_IDLE_S,
            lingering_time=_LINGER_S,
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type]  # None is for "no", says aiohttp's code
            logger=logger,
        )

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        own = request.headers.get("x-request-id", "")
        request[REQUEST_ID] = own if _OWN_ID.fullmatch(own) else f"req-{secrets.token_hex(12)}"
        with access_log.Entry(self._guard.log, "http", _method(request)) as entry:
            access_log.note(request_id=request[REQUEST_ID])
            response = await self._guard.attempt(
                self._checked(request, handler), lambda error: refusal(problem(error))
            )
            if not response.prepared:
                response.headers.update(request_headers(request))
            await self._deliver(request, response)
            entry.status = response.status
        return response

    async def _deliver(self, request: web.Request, response: web.StreamResponse) -> None:
        """Send what is left of a response; aiohttp itself would wait for a reader for ever."""
        try:
            async with asyncio.timeout(self._stall_s):
                await response.prepare(request)
                await response.write_eof()
        except (TimeoutError, ConnectionError):
            cut(request)

    async def _checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._check_caller(request)
        try:
            return await handler(request)
        except web.HTTPRequestEntityTooLarge:
            raise MessageTooLarge(limit_bytes=MESSAGE_BYTES_MAX) from None
        except web.HTTPException as error:
            headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
            return refusal(http_problem(error.status, _reason(error.status), headers))

    def _check_caller(self, request: web.Request) -> None:
        if self._bind.host in LOOPBACK and _host_named(request.headers) not in LOOPBACK:
            named = request.headers["Host"][:64]
            raise InvalidRequest("the Host header", named, "localhost, 127.0.0.1 or [::1]")
        if self._bind.token is None or request.path in _OPEN_PATHS:
            return
        presented = presented_token(request.headers.get("Authorization", ""))
        if not hmac.compare_digest(presented, self._expected):
            raise Unauthenticated


def _host_named(headers: Any) -> str:
    """Return the host that a caller means, without its port; loopback when none is named."""
    host: str = headers.get("Host", "127.0.0.1").lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _method(request: web.Request) -> str:
    """Return the endpoint as it was declared: what callers make up stays out of the log."""
    resource = request.match_info.route.resource
    return f"{request.method[:16]} {resource.canonical if resource else 'unknown'}"


def _reason(status: int) -> str:
    return _REASON.get(status) or http_reason(status)


def http_reason(status: int) -> str:
    """Return the standard phrase of a status."""
    return web.Response(status=status).reason or f"status {status}"


class _Connection(web.RequestHandler):
    """A connection whose broken HTTP is answered as everything else is, and not logged."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return what the caller hears, without what was raised; the connection closes then."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way")
        if isinstance(exc, LineTooLong):
            status = 431
        if status >= 500:  # handlers answer for their errors, so this is a mistake of the server
            logger.error("unexpected error", exc_info=exc)
        response = refusal(http_problem(status, _reason(status)))
        response.force_close()
        return response


class _Refusal(asyncio.Protocol):
    """A connection beyond the limit: its first bytes are answered with `Overloaded`."""

    def __init__(self, limit: int) -> None:
        error: ConstellationError = Overloaded(
            "the HTTP door", depth=limit, retry_after_s=1.0, counted="connections open"
        )
        said = problem(error)
        body = encode(said.content)
        lines = [
            f"HTTP/1.1 {said.status} {http_reason(said.status)}",
            *(f"{name}: {value}" for name, value in said.headers.items()),
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        self._answer = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the caller a moment to ask."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_REFUSED_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Answer."""
        if not self._transport.is_closing():
            self._transport.write(self._answer)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the caller."""
        if self._timer is not None:
            self._timer.cancel()
