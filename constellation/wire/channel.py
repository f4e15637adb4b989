"""Open gRPC channels and start gRPC servers: options, token check, TLS, health, reflection."""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from constellation.errors import ConfigError, DeploymentError, Unauthenticated
from constellation.loopback import LOOPBACK_ADDRESS, host_of, is_loopback
from constellation.wire import error_status
from constellation.wire.tls import ClientTls, ServerTls

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""Largest message in bytes that either side accepts; texts themselves are limited to 1 MiB."""

CALLS_WAITING_MAX = 65_536
"""Most calls that wait for their handler to begin: the largest allowed `serve.requests_max`.

grpc's own limit is 1,000, beyond which it drops calls at random: the caller gets CANCELLED without
details, and no counter counts the call. Callers meet the limit `serve.requests_max` instead, whose
error is typed and gives the time to retry after.
"""

TOKEN_LENGTH_MIN = 16
"""Least number of characters of a server's secret token."""

_SIZES = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
)

Options: TypeAlias = tuple[tuple[str, int], ...]
"""Options of a gRPC channel or server."""

CHANNEL_OPTIONS: Options = (
    *_SIZES,
    # A killed actor is back within seconds; grpc's default back-off grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 300),
    # Despite its name: how long one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 1000),
    # Half-open connections are noticed within a minute.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Loopback and private networks have no use for a proxy from the environment.
    ("grpc.enable_http_proxy", 0),
)

NETWORK_OPTIONS: Options = (
    *(each for each in CHANNEL_OPTIONS if not each[0].startswith("grpc.keepalive")),
    # Another machine may vanish without closing its connections: this is seen within 2.5 s, also by
    # connections without calls, so that a call that fails over does not wait once more.
    ("grpc.keepalive_time_ms", 1_000),
    ("grpc.keepalive_timeout_ms", 1_500),
    # Another ping may be under way when the machine vanishes, and holds the next one back.
    ("grpc.http2.ping_timeout_ms", 1_500),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
"""Options of a channel to a process of kernels on another machine."""

SERVER_OPTIONS: Options = (
    *_SIZES,
    # Two servers on one port would share its connections silently.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.server.max_pending_requests", CALLS_WAITING_MAX),
    ("grpc.server.max_pending_requests_hard_limit", CALLS_WAITING_MAX),
)

INTERNAL_SERVER_OPTIONS: Options = (
    *(each for each in SERVER_OPTIONS if "ping" not in each[0]),
    # Clients of other machines may send a ping a second, as `NETWORK_OPTIONS` say.
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.keepalive_permit_without_calls", 1),
)
"""Options of the server of a process of kernels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bind:
    """Address, token and TLS files of a server."""

    host: str = LOOPBACK_ADDRESS
    """Address to listen on; any address except loopback needs a token."""
    port: int = 0
    """TCP port, 0 to 65535; 0 lets the system choose a free port."""
    token: str | None = field(default=None, repr=False)
    """Secret that every call must carry; None accepts calls without a token (loopback only)."""
    tls: ServerTls | None = None
    """Files for TLS; None means unencrypted connections."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port is {self.port}; allowed: 0 to 65535")
        if not is_loopback(self.host) and not self.token:
            raise ConfigError(
                f"refusing to listen on {self.host!r} without a token; set security.token_file "
                f"or listen on {LOOPBACK_ADDRESS}"
            )
        if self.token is not None:
            check_token(self.token)
            if len(self.token) < TOKEN_LENGTH_MIN:
                raise ConfigError(
                    f"the token has {len(self.token)} characters; use {TOKEN_LENGTH_MIN} or more"
                )


def authority(host: str, port: int) -> str:
    """Join host and port to host:port, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_token(token: str) -> None:
    """Raise `ConfigError`, without showing `token`, when a header cannot carry the token."""
    if not token or token != token.strip() or not (token.isascii() and token.isprintable()):
        raise ConfigError(
            "the token is empty, begins or ends with a space, or holds characters that no header "
            "can carry; use printable ASCII"
        )


def credentials(token: str | None) -> tuple[tuple[str, str], ...]:
    """Return the call metadata that carries `token`; none for None."""
    return () if token is None else (("authorization", f"Bearer {token}"),)


def presented_token(header: str) -> bytes:
    """Return the token in an `Authorization` header; empty for another scheme than Bearer.

    Letter case of the scheme is ignored, as in HTTP.
    """
    scheme, _, token = header.partition(" ")
    return token.strip().encode(errors="replace") if scheme.lower() == "bearer" else b""


class TokenGate(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Passes calls with the right token to their handlers, and refuses all others.

    Tokens are compared in constant time. An interceptor could do the same, but grpc's interceptors
    cost each call about 40 microseconds.
    """

    def __init__(
        self,
        token: str,
        note: Callable[[str], None],
        handlers: Sequence[grpc.GenericRpcHandler],
    ) -> None:
        """Store the token, a function that gets the path of each refused call, and the handlers."""
        self._expected = token.encode()
        self._note = note
        self._handlers = tuple(handlers)
        self._refusals = {
            (False, False): grpc.unary_unary_rpc_method_handler(self._refuse),
            (False, True): grpc.unary_stream_rpc_method_handler(self._refuse_stream),
            (True, False): grpc.stream_unary_rpc_method_handler(self._refuse),
            (True, True): grpc.stream_stream_rpc_method_handler(self._refuse_stream),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call, or a handler that refuses the call as `Unauthenticated`."""
        handler = self._find(handler_call_details)
        presented = b""
        for name, value in handler_call_details.invocation_metadata:
            if name == "authorization":
                presented = presented_token(str(value))
        if hmac.compare_digest(presented, self._expected):
            return handler
        self._note(handler_call_details.method)
        if handler is None:
            return self._refusals[False, False]
        return self._refusals[handler.request_streaming, handler.response_streaming]

    def _find(self, details: grpc.HandlerCallDetails) -> Any:
        for each in self._handlers:
            handler = each.service(details)
            if handler is not None:
                return handler
        return None

    async def _refuse(self, request: bytes, context: Any) -> None:
        await context.abort(*error_status.terms(Unauthenticated()))

    async def _refuse_stream(self, request: bytes, context: Any) -> Any:
        await self._refuse(request, context)
        yield b""  # never reached; makes this a generator


class _Collected(list[grpc.GenericRpcHandler]):
    """List of handlers to which a service can register itself as to a server."""

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        pass  # the same handlers again


async def serve(
    bind: Bind,
    handlers: Sequence[grpc.GenericRpcHandler],
    service_names: Sequence[str],
    *,
    note_refused: Callable[[str], None] = lambda path: None,
    options: Sequence[tuple[str, int]] = SERVER_OPTIONS,
) -> tuple[grpc.aio.Server, str]:
    """Start a gRPC server with the handlers of services, health checks and reflection.

    `note_refused` is called with the path of every call without the token.

    Returns:
        The running server and the host:port it listens on.

    Raises:
        ConfigError: A TLS file is missing or has the wrong content.
        DeploymentError: The port is in use or the address is not this machine's.
    """
    server = grpc.aio.server(options=options)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)  # probes carry no token
    names = (*service_names, health.SERVICE_NAME, reflection.SERVICE_NAME)
    all_handlers = _Collected(handlers)
    reflection.enable_server_reflection(names, all_handlers)
    if bind.token:
        all_handlers = _Collected([TokenGate(bind.token, note_refused, all_handlers)])
    server.add_generic_rpc_handlers(tuple(all_handlers))
    for name in ("", *service_names):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    endpoint = _listen(server, bind)
    await server.start()
    return server, endpoint


def _listen(server: grpc.aio.Server, bind: Bind) -> str:
    wanted = authority(bind.host, bind.port)
    terms = None if bind.tls is None else bind.tls.credentials()
    try:
        if terms is None:
            port = server.add_insecure_port(wanted)
        else:
            port = server.add_secure_port(wanted, terms)
    except RuntimeError as error:
        raise DeploymentError(
            f"cannot listen on {wanted}: the port is in use or the address is not this machine's; "
            "choose another with --port"
        ) from error
    return authority(bind.host, port)


def open_channel(
    endpoint: str, tls: ClientTls | None, options: Options = CHANNEL_OPTIONS
) -> grpc.Channel:
    """Open a synchronous channel to `endpoint`, with TLS unless `tls` is None."""
    if tls is None:
        return grpc.insecure_channel(endpoint, options=options)
    with_tls = (*options, *tls.channel_options)
    return grpc.secure_channel(endpoint, tls.credentials(), options=with_tls)


def open_async_channel(
    endpoint: str, tls: ClientTls | None, options: Options = CHANNEL_OPTIONS
) -> grpc.aio.Channel:
    """Open an asynchronous channel to `endpoint`, with TLS unless `tls` is None."""
    if tls is None:
        return grpc.aio.insecure_channel(endpoint, options=options)
    with_tls = (*options, *tls.channel_options)
    return grpc.aio.secure_channel(endpoint, tls.credentials(), options=with_tls)


def open_internal_channel(endpoint: str, tls: ClientTls | None) -> grpc.aio.Channel:
    """Open a channel to a process of kernels, with TLS unless `tls` is None."""
    return open_async_channel(endpoint, tls, kernel_options(endpoint))


def kernel_options(endpoint: str) -> Options:
    """Return the options of a channel to a process of kernels: watched if on another machine."""
    return NETWORK_OPTIONS if crosses_network(endpoint) else CHANNEL_OPTIONS


def crosses_network(endpoint: str) -> bool:
    """Return whether an endpoint is on another machine, or may be."""
    return not is_loopback(host_of(endpoint))
