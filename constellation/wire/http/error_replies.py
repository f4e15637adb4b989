"""Errors -> HTTP statuses with OpenAI's error object.

Statuses follow from the gRPC ones, so that an error that one door knows is never unknown to the
other. The object names our class and its facts beside OpenAI's fields.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

import grpc

from constellation import errors
from constellation.wire import error_status
from constellation.wire.http.bodies import MODEL

_STATUS: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_EXCEPTIONS: Mapping[type[errors.ConstellationError], int] = {
    errors.MessageTooLarge: 413,
    errors.OutOfDomain: 422,
}
_TYPE: Mapping[int, str] = {
    401: "authentication_error",
    429: "rate_limit_error",
    499: "cancelled",
    500: "server_error",
    503: "service_unavailable",
    504: "timeout",
}
_CODE: Mapping[type[errors.ConstellationError], str] = {
    errors.Unauthenticated: "invalid_api_key",
    errors.UnknownKernel: "model_not_found",
    errors.Overloaded: "rate_limit_exceeded",
}
_MESSAGE: Mapping[type[errors.ConstellationError], str] = {
    errors.Unauthenticated: "this constellation asks for a valid token; send it as the API key, "
    "that is in the header `Authorization: Bearer TOKEN`",
}

LINE_BYTES_MAX = 8190
"""Longest line of a request's head."""
_REASON = {
    400: "this is not HTTP/1.1",
    404: "there is nothing here; see /openapi.json",
    431: f"the head of the request is too long: a line of it may have {LINE_BYTES_MAX} bytes",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """What a caller hears instead of an answer."""

    status: int
    """HTTP status."""
    content: dict[str, Any]
    """The body, a JSON object with the key "error"."""
    headers: Mapping[str, str] = field(default_factory=dict)


def problem(error: errors.ConstellationError) -> Problem:
    """Return what a caller hears of `error`, one of the classes that `wire.status` knows."""
    if isinstance(error, errors.UnknownKernel):
        error = _with_constellation(error)
    kind = type(error)
    code = http_status(kind)
    said = {
        "message": _MESSAGE.get(kind, str(error)),
        "type": _TYPE.get(code, "invalid_request_error"),
        "param": _param(error),
        "code": _code(error),
        "constellation": {"error": kind.__name__, **_facts(error)},
    }
    return Problem(status=code, content={"error": said}, headers=_headers(error))


def _with_constellation(error: errors.UnknownKernel) -> errors.UnknownKernel:
    """Return the error as HTTP means it: the constellation is a model, too, the one to use."""
    known = [MODEL, *(name for name in error.known if name != MODEL)]
    message = f"no model is named {error.kernel!r}; there are: {', '.join(known)}"
    facts = {"kernel": error.kernel, "known": known}
    return cast("errors.UnknownKernel", errors.rebuild(errors.UnknownKernel, message, facts))


def http_problem(code: int, headers: Mapping[str, str] | None = None) -> Problem:
    """Return what a caller hears who speaks HTTP wrongly."""
    message = _REASON.get(code) or HTTPStatus(code).phrase
    said = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return Problem(status=code, content={"error": said}, headers=headers or {})


def http_status(kind: type[errors.ConstellationError]) -> int:
    """Return the HTTP status of a class of errors."""
    return _EXCEPTIONS.get(kind) or _STATUS[error_status.STATUS_OF[kind]]


def _param(error: errors.ConstellationError) -> str | None:
    if isinstance(error, errors.InvalidRequest):
        return error.field
    return "model" if isinstance(error, errors.UnknownKernel) else None


def _code(error: errors.ConstellationError) -> str | None:
    if isinstance(error, errors.InvalidPrompt) and error.length > error.limit:
        return "context_length_exceeded"
    return _CODE.get(type(error))


def _facts(error: errors.ConstellationError) -> dict[str, Any]:
    facts = error_status.attributes(error)
    facts.pop("value", None)  # what was sent is in the message, shortened
    return facts


def _headers(error: errors.ConstellationError) -> dict[str, str]:
    if isinstance(error, errors.Overloaded):
        wait_s = error.retry_after_s
        # OpenAI's clients read the milliseconds; the standard header knows whole seconds only.
        return {
            "Retry-After": str(max(1, math.ceil(wait_s))),
            "retry-after-ms": str(math.ceil(wait_s * 1000)),
        }
    if isinstance(error, errors.Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    return {}
