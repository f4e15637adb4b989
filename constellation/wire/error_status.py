"""Convert typed errors to gRPC statuses with `google.rpc` details, and statuses back to errors.

Any gRPC client sees the status code and message. The details hold the error's class and public
attributes, so that this project's clients raise the same error as the server.
"""

import json
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from constellation import errors

DOMAIN = "constellation"
"""`google.rpc.ErrorInfo.domain` of every error of this project."""

DETAILS_KEY = "grpc-status-details-bin"
# gRPC peers randomly refuse more than 8 KiB of metadata, and then the error is lost. The message is
# sent twice, once percent-encoded (up to three times as long), the rest in base64.
_MESSAGE_BYTES_MAX = 500
_ATTRIBUTES_BYTES_MAX = 3_000

STATUS_OF: dict[type[errors.ConstellationError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidPrompt: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownSymbol: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidBasin: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownKernel: grpc.StatusCode.NOT_FOUND,
    errors.MessageTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.OutOfDomain: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ReloadRefused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.GrowthRefused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.IncompatibleKernels: grpc.StatusCode.FAILED_PRECONDITION,
    errors.KernelUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.ServiceUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.InternalError: grpc.StatusCode.INTERNAL,
}
"""Request error -> gRPC status; a test checks that no request error is missing."""

# Texts of grpc for a call that ended on the caller's side.
_ENDED_HERE = ("Locally cancelled", "Channel closed", "Channel is closed")
# Texts of grpc for a reply that is too large; for a request: "CLIENT: Sent", "SERVER: Received".
_REPLIES_TOO_LARGE = ("CLIENT: Received", "SERVER: Sent")

_CLASS_NAMED = {kind.__name__: kind for kind in STATUS_OF}


def terms(
    error: errors.ConstellationError,
) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """Return the arguments of `context.abort` for an error: status, message and details."""
    message = _message(error)
    return STATUS_OF[type(error)], message, ((DETAILS_KEY, _details(error, message)),)


def code_name(error: Exception) -> str:
    """Return the name of the gRPC status of an error; INTERNAL for an unexpected exception."""
    if not isinstance(error, errors.ConstellationError) or type(error) not in STATUS_OF:
        return str(grpc.StatusCode.INTERNAL.name)
    return str(STATUS_OF[type(error)].name)


def _message(error: errors.ConstellationError) -> str:
    data = str(error).encode(errors="replace")
    if len(data) <= _MESSAGE_BYTES_MAX:
        return data.decode()
    return data[: _MESSAGE_BYTES_MAX - 3].decode(errors="ignore") + "..."


def _details(error: errors.ConstellationError, message: str) -> bytes:
    status = status_pb2.Status(code=STATUS_OF[type(error)].value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason=type(error).__name__, domain=DOMAIN)
    info.metadata["attributes"] = _attributes(error)
    status.details.add().Pack(info)
    if isinstance(error, errors.Overloaded):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(error.retry_after_s * 1e9))
        status.details.add().Pack(retry)
    return bytes(status.SerializeToString())


def attributes(error: errors.ConstellationError) -> dict[str, Any]:
    """Return an error's public attributes as JSON values, shortened to about 3 kB."""
    kept: dict[str, Any] = json.loads(_attributes(error))
    return kept


def _attributes(error: errors.ConstellationError) -> str:
    text = ""
    for length_max in (1024, 32, 16, 8, 2):
        clipped = {name: _clip(value, length_max) for name, value in vars(error).items()}
        text = json.dumps(clipped, separators=(",", ":"), default=str)
        if len(text) <= _ATTRIBUTES_BYTES_MAX:
            break
    return text


def _clip(value: Any, length_max: int) -> Any:
    """Return `value` with long texts and collections cut to their first parts."""
    if isinstance(value, str):
        return value[: max(64, 8 * length_max)]  # names of kernels have at most 64 characters
    if isinstance(value, list):
        return [_clip(item, length_max) for item in value[:length_max]]
    if isinstance(value, dict):
        items = list(value.items())[:length_max]
        return {_clip(name, length_max): _clip(item, length_max) for name, item in items}
    return value


def from_rpc_error(
    error: grpc.RpcError, *, endpoint: str, limit_bytes: int
) -> errors.ConstellationError:
    """Return the typed error of a failed gRPC call.

    Args:
        error: Error that grpc raised, with `code()`, `details()` and `trailing_metadata()`.
        endpoint: host:port of the call, for the error when the server did not answer.
        limit_bytes: Largest message of the channel, for `MessageTooLarge`.
    """
    typed = _from_details(error)
    if typed is not None:
        return typed
    return _from_code(error.code(), error.details() or "", endpoint, limit_bytes)


def _from_details(error: grpc.RpcError) -> errors.ConstellationError | None:
    metadata = dict(error.trailing_metadata() or ())
    if DETAILS_KEY not in metadata:
        return None
    try:
        status = status_pb2.Status.FromString(metadata[DETAILS_KEY])
        for packed in status.details:
            info = error_details_pb2.ErrorInfo()
            if packed.Unpack(info) and info.domain == DOMAIN and info.reason in _CLASS_NAMED:
                attributes = dict(json.loads(info.metadata["attributes"]))
                return errors.rebuild(_CLASS_NAMED[info.reason], status.message, attributes)
    except (DecodeError, ValueError, TypeError):
        pass  # from a proxy or a broken peer: fall back to the status code
    return None


def _from_code(
    code: grpc.StatusCode, text: str, endpoint: str, limit_bytes: int
) -> errors.ConstellationError:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.DeadlineExceeded("the deadline passed before the answer was complete")
    if code is grpc.StatusCode.CANCELLED:
        return _cancelled(text, endpoint)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        what = "reply" if any(said in text for said in _REPLIES_TOO_LARGE) else "message"
        return errors.MessageTooLarge(limit_bytes=limit_bytes, what=what)
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return errors.Unauthenticated()
    if code is grpc.StatusCode.UNAVAILABLE:
        return _unavailable(text, endpoint)
    return errors.InternalError(f"status {code.name}: {text}")


def _cancelled(text: str, endpoint: str) -> errors.ConstellationError:
    """Return the error of a cancelled call: cancelled by the caller, or dropped by the server."""
    if any(said in text for said in _ENDED_HERE):
        return errors.Cancelled("the call was cancelled")
    reason = "it dropped the call before an answer, since it has too many calls or is stopping"
    return errors.ServiceUnavailable(endpoint, reason)


def _unavailable(text: str, endpoint: str) -> errors.ConstellationError:
    if "http1.x server" in text:
        return errors.InvalidRequest(
            "endpoint",
            endpoint,
            "the port of gRPC; an HTTP server answers there, such as the one for OpenAI's clients, "
            "whose port is by default the one after gRPC's",
        )
    if "before receiving SETTINGS" in text:
        reason = "it takes no new connection: it hangs, or has as many open files as it may have"
        return errors.ServiceUnavailable(endpoint, reason)
    return errors.ServiceUnavailable(endpoint, text)
