"""The terms of a client's calls: endpoints, token, timeouts, retries, typed errors."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import grpc

from constellation import settings
from constellation.client.retries import Attempts, RetryPolicy, Timeouts, check_timeout
from constellation.client.trace_context import trace_headers
from constellation.errors import ConfigError, ConstellationError
from constellation.wire import channel, error_status
from constellation.wire.tls import ClientTls, client_tls

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """Endpoints, credentials, timeouts and retries of a client's calls."""

    endpoints: tuple[str, ...]
    """host:port of one or more routers, in the order in which they are tried."""
    metadata: tuple[tuple[str, str], ...] = field(repr=False)
    """Metadata of every call: the token."""
    timeouts: Timeouts
    retries: RetryPolicy
    now_s: Callable[[], float]
    """A clock that never goes back."""
    draw: Callable[[], float]
    """Uniform numbers in [0, 1)."""
    tls: ClientTls | None = None
    """Certificates to trust and to show; None means plain text."""

    def begin(
        self, timeout_s: float | None, default_s: float, traceparent: str | None = None
    ) -> Attempts:
        """Start the tries of one call; its deadline starts to run.

        Without `timeout_s`, all tries together may take `default_s` seconds.
        """
        total_s = check_timeout(timeout_s, default_s)
        return Attempts(
            self.retries,
            self.timeouts.connect_s,
            self.now_s() + total_s,
            (*self.metadata, *trace_headers(traceparent)),
        )

    def begin_request(self, timeout_s: float | None, traceparent: str | None) -> Attempts:
        """Start the tries of one request, for which `timeouts.request_s` is the default."""
        return self.begin(timeout_s, self.timeouts.request_s, traceparent)

    def pause_s(self, attempts: Attempts, error: ConstellationError) -> float:
        """Return how long to wait before the next try, or raise `error`."""
        pause = attempts.pause_s(error, now_s=self.now_s(), draw=self.draw())
        logger.info(
            "trying again",
            extra={"reason": str(error), "attempt": attempts.num_failed + 1, "pause_s": pause},
        )
        return pause

    def typed(self, error: grpc.RpcError, endpoint: str) -> ConstellationError:
        """Return the error of `constellation.errors` for a failed gRPC call to `endpoint`."""
        return error_status.from_rpc_error(
            error, endpoint=endpoint, limit_bytes=channel.MESSAGE_BYTES_MAX
        )


class ClientOptions(TypedDict, total=False):
    """How a client connects and how long it tries; defaults hold for what is not given."""

    token: str | None
    """Secret; None means CONSTELLATION_TOKEN of the environment, if set."""
    ca: str | Path | None
    """PEM file with the authorities that sign the server's certificate; None means plain text,
    without TLS."""
    certificate: str | Path | None
    """PEM file with the client's own certificate, if the server asks for one."""
    key: str | Path | None
    """PEM file with its private key."""
    timeouts: Timeouts | None
    """How long calls may take."""
    retries: RetryPolicy | None
    """How often calls are tried."""
    now_s: Callable[[], float]
    """Clock of the deadlines, in seconds; `time.monotonic` by default."""
    draw: Callable[[], float]
    """Uniform numbers in [0, 1), for the pauses between tries; `random.random` by default."""


def open_session(
    endpoint: str | Sequence[str],
    *,
    token: str | None = None,
    ca: str | Path | None = None,
    certificate: str | Path | None = None,
    key: str | Path | None = None,
    timeouts: Timeouts | None = None,
    retries: RetryPolicy | None = None,
    now_s: Callable[[], float] = time.monotonic,
    draw: Callable[[], float] = random.random,
) -> Session:
    """Check the arguments of a client and fill in the defaults.

    Raises:
        ConfigError: An endpoint is not host:port, the token cannot be sent, or a certificate
            lacks its key.
    """
    endpoints = tuple(endpoint.split(",")) if isinstance(endpoint, str) else tuple(endpoint)
    if not endpoints:
        raise ConfigError("no endpoint was given; give host:port, such as 'localhost:50051'")
    for each in endpoints:
        check_endpoint(each)
    token = settings.read_token(None) if token is None else token
    if token is not None:
        channel.check_token(token)
    return Session(
        endpoints=tuple(dict.fromkeys(endpoints)),
        metadata=channel.credentials(token),
        timeouts=timeouts or Timeouts(),
        retries=retries or RetryPolicy(),
        now_s=now_s,
        draw=draw,
        tls=client_tls(ca, certificate, key),
    )


def check_endpoint(endpoint: str, what: str = "the endpoint") -> None:
    """Check that a text is host:port.

    Args:
        endpoint: The text.
        what: Name of the text, for the error.

    Raises:
        ConfigError: It is not.
    """
    host, _, port = endpoint.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if (
        not host
        or (":" in host and not bracketed)
        or any(character in "/, \"'\t\r\n" for character in host)
        or not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65_535)
    ):
        raise ConfigError(f"{what} is {endpoint!r}; give host:port, such as 'localhost:50051'")
