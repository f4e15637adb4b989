"""Who sends a request: the client that limits count, and the id by which it may be sent again.

A client is the common name of the certificate that it showed, else its address: the one token is
shared by all. Clients behind one proxy or on one machine are one client.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote

from constellation.errors import InvalidRequest

REQUEST_ID_MAX = 64
"""Characters of an id that a caller gives a request."""

CLIENT_MAX = 256
"""Characters of a client's name; longer ones are cut."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who sent a request, and which one it is."""

    client: str = ""
    """Whom limits and turns count: the certificate's subject, else the address; "" is ourselves."""
    request_id: str | None = None
    """Chosen by the caller for the request and its repeats; None has no repeats."""
    fingerprint: bytes = b""
    """Of what is asked: under one id it must stay the same."""


def client_of(context: Any) -> str:
    """Return who calls by gRPC: the common name of the certificate it showed, else its address."""
    names = context.auth_context().get("x509_common_name", ())
    if names:
        return f"CN={names[0].decode(errors='replace')}"[:CLIENT_MAX]
    # "ipv4:127.0.0.1:40000", "ipv6:[::1]:40000" with the brackets as percent signs: every
    # connection has a port of its own, which says nothing.
    address = unquote(str(context.peer())).partition(":")[2].rpartition(":")[0]
    return address.strip("[]")[:CLIENT_MAX] or "unknown"


def client_of_transport(transport: Any) -> str:
    """Return the same of an asyncio transport; None is one that has been closed."""
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
    """Return who sent a message of ConstellationService with a `request_id`.

    Raises:
        InvalidRequest: The id is too long or holds characters that are none.
    """
    request_id = check_request_id("request_id", request.request_id)
    if request_id is None:
        return Caller(client=client_of(context))
    request.ClearField("request_id")  # it has been read, and is no part of what is asked
    asked = fingerprint(method, request.SerializeToString(deterministic=True))
    return Caller(client=client_of(context), request_id=request_id, fingerprint=asked)


def fingerprint(what: str, data: bytes) -> bytes:
    """Return 16 bytes that stand for what is asked."""
    return blake2b(what.encode() + b"\0" + data, digest_size=16).digest()


def check_request_id(field: str, value: str) -> str | None:
    """Return the id, or None when there is none.

    Raises:
        InvalidRequest: It is too long or holds characters other than printable ASCII.
    """
    if not value:
        return None
    if len(value) > REQUEST_ID_MAX or not (value.isascii() and value.isprintable()):
        raise InvalidRequest(field, value, f"1 to {REQUEST_ID_MAX} printable ASCII characters")
    return value
