"""JSON values and errors as HTTP responses."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from constellation.wire.http.error_replies import Problem


def encode(content: Any) -> bytes:
    """Return a JSON value as bytes, records as objects.

    Raises:
        ValueError: There is a number that JSON does not know, which is a mistake of ours.
    """
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, default=_plain)
    return text.encode()


def _plain(value: Any) -> Any:
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None:
        return {name: getattr(value, name) for name in fields}
    return value.item()  # a number of numpy's


def respond(
    content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response with a JSON body."""
    return Response(encode(content), status, headers, media_type="application/json")


def refusal(said: Problem) -> Response:
    """Return the response that stands for an error."""
    return respond(said.content, status=said.status, headers=said.headers)


def refusal_bytes(said: Problem) -> bytes:
    """Return an error as a whole HTTP reply, for a connection that is closed after it."""
    body = encode(said.content)
    lines = [
        f"HTTP/1.1 {said.status} {HTTPStatus(said.status).phrase}",
        *(f"{name}: {value}" for name, value in said.headers.items()),
        "Server: constellation",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
