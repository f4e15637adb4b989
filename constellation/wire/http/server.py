"""The HTTP server: who may connect and call, how much they may send, how long they may take.

No CORS headers are sent, so browsers keep other sites' pages out; on loopback the Host header must
name loopback, so that a name that was made to point here does not get around that.
"""

import asyncio
import hmac
import re
import secrets
from contextlib import suppress
from email.utils import formatdate

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.server import ServerState

from constellation.errors import DeploymentError, InvalidRequest, Overloaded, Unauthenticated
from constellation.loopback import LOOPBACK_ADDRESS, is_loopback
from constellation.wire import access_log
from constellation.wire.channel import Bind, authority, presented_token
from constellation.wire.http.connection import Connection
from constellation.wire.http.error_replies import http_problem, problem
from constellation.wire.http.gateway import Gateway
from constellation.wire.http.responses import refusal
from constellation.wire.services import Guard

CONNECTIONS_MAX = 512
"""Connections that may be open unless settings say otherwise."""

_HANDSHAKE_S = 5.0
"""Seconds the handshake of TLS may take; until it is done a connection is not counted."""
_OWN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


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
        self._bind = bind
        self._connections_max = connections_max
        self._stall_s = gateway.stall_s
        self._state = ServerState()
        self._gateway = gateway
        routes = gateway.routes()
        entrance = Middleware(
            _Entrance, guard=guard, bind=bind, routes=routes, open_paths=gateway.open_paths
        )
        app = Starlette(
            routes=routes,
            middleware=[entrance],
            exception_handlers={HTTPException: _refuse_http},
        )
        app.router.redirect_slashes = False
        self._config = uvicorn.Config(
            app,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=60,  # later than the connection's own limit, which counts heads too
        )
        self._listener: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; return the host:port.

        Raises:
            ConfigError: A TLS file is not what it should be.
            DeploymentError: The port is taken or the address is not this machine's.
        """
        tls = None if self._bind.tls is None else self._bind.tls.context()
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._connection,
                self._bind.host,
                self._bind.port,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else _HANDSHAKE_S,
            )
        except OSError as error:
            raise DeploymentError(
                f"cannot listen on {authority(self._bind.host, self._bind.port)}: the port is "
                "taken or the address is not this machine's; choose another with --http-port"
            ) from error
        return authority(self._bind.host, self._listener.sockets[0].getsockname()[1])

    async def stop(self, *, grace_s: float) -> None:
        """Accept nothing more, finish what runs within `grace_s`, then close."""
        if self._listener is not None:
            self._listener.close()
        self._gateway.close()
        connections, tasks = self._state.connections, self._state.tasks
        for each in tuple(connections):
            each.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while connections:
                    connection = next(iter(connections))
                    assert isinstance(connection, Connection)
                    await connection.lost.wait()
        for each in tuple(connections):
            each.transport.abort()
        if tasks:
            await asyncio.wait(tuple(tasks), timeout=grace_s)

    @property
    def num_connections(self) -> int:
        """Connections that are open, those that were refused left out."""
        return len(self._state.connections)

    def _connection(self) -> Connection:
        refusal = None
        if self.num_connections >= (limit := self._connections_max):
            refusal = problem(
                Overloaded(
                    "the HTTP door", depth=limit, retry_after_s=1.0, counted="connections open"
                )
            )
        return Connection(self._config, self._state, stall_s=self._stall_s, refusal=refusal)


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(http_problem(error.status_code, dict(error.headers or {})))


class _Entrance:
    """What every request passes: its id, its line in the access log, and who may call."""

    def __init__(
        self,
        app: ASGIApp,
        guard: Guard,
        bind: Bind,
        routes: list[Route],
        open_paths: frozenset[str],
    ) -> None:
        self._app = app
        self._open_paths = open_paths
        self._guard = guard
        self._bind = bind
        self._routes = routes
        self._expected = (bind.token or "").encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: Connection = scope["state"]["connection"]
        if connection.lost.is_set():
            return
        connection.work = asyncio.current_task()
        try:
            await self._serve(scope, receive, send)
        except asyncio.CancelledError:
            if not connection.lost.is_set():
                raise
        finally:
            connection.work = None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        state, headers = scope["state"], Headers(scope=scope)
        own = headers.get("x-request-id", "")
        state["request_id"] = own if _OWN_ID.fullmatch(own) else f"req-{secrets.token_hex(12)}"
        reply = _Reply(scope, send)
        with access_log.Entry(self._guard.log, "http", self._method(scope)) as entry:
            access_log.note(request_id=state["request_id"])
            refused = await self._guard.attempt(
                self._checked(scope, headers, receive, reply.send),
                lambda error: refusal(problem(error)),
            )
            if refused is not None and reply.status is not None:
                state["connection"].abort()  # half an answer cannot become an error
            elif refused is not None:
                await refused(scope, receive, reply.send)
            entry.status = reply.status or "CANCELLED"

    async def _checked(
        self, scope: Scope, headers: Headers, receive: Receive, send: Send
    ) -> Response | None:
        """Have a request answered that may be; return nothing, since the answer is sent."""
        self._check_caller(scope["path"], headers)
        await self._app(scope, receive, send)
        return None

    def _check_caller(self, path: str, headers: Headers) -> None:
        if is_loopback(self._bind.host) and not is_loopback(_host_named(headers)):
            named = headers["host"][:64]
            raise InvalidRequest(
                "the Host header", named, f"localhost, {LOOPBACK_ADDRESS} or [::1]"
            )
        if self._bind.token is None or path in self._open_paths:
            return
        presented = presented_token(headers.get("authorization", ""))
        if not hmac.compare_digest(presented, self._expected):
            raise Unauthenticated

    def _method(self, scope: Scope) -> str:
        """Return the endpoint as it was declared: what callers make up stays out of the log."""
        found = (each.path_format for each in self._routes if each.matches(scope)[0] is Match.FULL)
        return f"{scope['method'][:16]} {next(found, 'unknown')}"


class _Reply:
    """Adds what every reply has to the one of a request."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._state = scope["state"]
        self._send = send
        self.status: int | None = None
        """HTTP status; None until the reply has begun."""

    async def send(self, message: Message) -> None:
        """Send a part of the reply."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._headers()]
        await self._send(message)

    def _headers(self) -> list[tuple[bytes, bytes]]:
        """Return who replies, and the ids under which log and collector know the request."""
        own = {
            "server": "constellation",  # and not which versions of what
            "date": formatdate(usegmt=True),
            "x-request-id": self._state["request_id"],
        }
        if "trace_id" in self._state:
            own["x-trace-id"] = self._state["trace_id"]
        return [(name.encode(), value.encode()) for name, value in own.items()]


def _host_named(headers: Headers) -> str:
    """Return the host that a caller means, without its port; loopback when none is named."""
    host = headers.get("host", LOOPBACK_ADDRESS).lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
