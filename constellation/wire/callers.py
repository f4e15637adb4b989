"""Identify a request's caller: the client that limits count, and the id that marks a repeat.

A client is identified by the common name of its TLS certificate, or else by its address, because
all clients share one token. Clients behind one proxy or on one machine count as one client.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote

from constellation.errors import InvalidRequest

REQUEST_ID_MAX = 64
"""Most characters of a caller's request id."""

CLIENT_MAX = 256
"""Most characters of a client's name; a longer name is truncated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Client and id of one request."""

    client: str = ""
    """Name for limits and fair queueing: the certificate's common name, or else the address; "" for
    a request of the constellation itself."""
    request_id: str | None = None
    """Id chosen by the caller for a request and its repeats; None for a request without an id."""
    fingerprint: bytes = b""
    """Hash of the request's content, which must be the same for all requests with one id."""


def client_of(context: Any) -> str:
    """Return the client of a gRPC call: its certificate's common name, or else its address."""
    names = context.auth_context().get("x509_common_name", ())
    if names:
        return f"CN={names[0].decode(errors='replace')}"[:CLIENT_MAX]
    # "ipv4:10.0.0.1:40000", "ipv6:[::1]:40000" with the brackets as percent signs: every
    # connection has a port of its own, which does not identify a client.
    address = unquote(str(context.peer())).partition(":")[2].rpartition(":")[0]
    return address.strip("[]")[:CLIENT_MAX] or "unknown"


def client_of_transport(transport: Any) -> str:
    """Return the client of an asyncio transport; "unknown" for a closed transport (None)."""
    if transport is None:
        return "unknown"
    certificate = transport.get_extra_info("peercert") or {}
    names = [
        value
        for part in certificate.get("subject", ())
        for name, value in part
        if name == "commonName"
    ]
    if names:
        return f"CN={names[0]}"[:CLIENT_MAX]
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else "unknown"


def grpc_caller(context: Any, request: Any, method: str) -> Caller:
    """Return the caller of a ConstellationService message with the field `request_id`.

    Raises:
        InvalidRequest: The id is too long or holds characters other than printable ASCII.
    """
    request_id = check_request_id("request_id", request.request_id)
    if request_id is None:
        return Caller(client=client_of(context))
    request.ClearField("request_id")  # the id is not part of the content
    asked = fingerprint(method, request.SerializeToString(deterministic=True))
    return Caller(client=client_of(context), request_id=request_id, fingerprint=asked)


def fingerprint(what: str, data: bytes) -> bytes:
    """Return a 16-byte hash of the content of a request."""
    return blake2b(what.encode() + b"\0" + data, digest_size=16).digest()


def check_request_id(field: str, value: str) -> str | None:
    """Return a valid request id, or None for an empty one.

    Raises:
        InvalidRequest: The id is too long or holds characters other than printable ASCII.
    """
    if not value:
        return None
    if len(value) > REQUEST_ID_MAX or not (value.isascii() and value.isprintable()):
        raise InvalidRequest(field, value, f"1 to {REQUEST_ID_MAX} printable ASCII characters")
    return value
