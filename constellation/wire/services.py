"""Build gRPC handlers and stubs from service descriptors, with one error guard for all handlers.

Handlers decode leniently: bytes that are not a valid message reach `guard` as `Malformed` and
become `InvalidRequest` instead of grpc's bare INTERNAL.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from constellation.errors import (
    Cancelled,
    ConstellationError,
    InternalError,
    InvalidRequest,
    Unauthenticated,
)
from constellation.v1 import blobs_pb2, constellation_pb2, kernel_pb2
from constellation.wire import access_log, error_status, request_tracing
from constellation.wire.access_log import AccessLog

logger = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")

CONSTELLATION: ServiceDescriptor = constellation_pb2.DESCRIPTOR.services_by_name[
    "ConstellationService"
]
KERNEL: ServiceDescriptor = kernel_pb2.DESCRIPTOR.services_by_name["KernelService"]
BLOBS: ServiceDescriptor = blobs_pb2.DESCRIPTOR.services_by_name["BlobService"]


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes that could not be decoded as the expected message, with the reason."""

    reason: str


def path(method: MethodDescriptor) -> str:
    """Return the HTTP/2 path of an RPC."""
    return f"/{method.containing_service.full_name}/{method.name}"


def _arity(method: MethodDescriptor) -> str:
    """Return gRPC's name for the numbers of messages in each direction, such as "unary_stream"."""
    sides = (method.client_streaming, method.server_streaming)
    return "_".join("stream" if streams else "unary" for streams in sides)


def request_class(service: ServiceDescriptor, name: str) -> type[Message]:
    """Return the message class of an RPC's request."""
    kind: type[Message] = GetMessageClass(service.methods_by_name[name].input_type)
    return kind


def _decoder(kind: type[Message]) -> Callable[[bytes], Message | Malformed]:
    def decode(data: bytes) -> Message | Malformed:
        try:
            return kind.FromString(data)
        except DecodeError as error:
            return Malformed(str(error) or "truncated or not protobuf")

    return decode


def _encode(message: Message | bytes) -> bytes:
    # Bytes pass through: the router forwards a kernel's replies without decoding them.
    return message if isinstance(message, bytes) else bytes(message.SerializeToString())


class Guard:
    """Turns every exception of a handler into a typed error, and logs and counts unexpected ones.

    The gRPC and the HTTP server of a process share one guard, with the access log and the tracing.
    """

    def __init__(
        self, count_rejected: Callable[[str], None], *, log: AccessLog | None = None
    ) -> None:
        self._count_rejected = count_rejected
        self.log = log
        self.tracing: request_tracing.Tracing | None = None
        self.num_unexpected = 0

    def typed(self, error: Exception) -> ConstellationError:
        """Return the typed error for a caller; count it, and log an unexpected exception."""
        if not isinstance(error, ConstellationError) or type(error) not in error_status.STATUS_OF:
            error_id = uuid.uuid4().hex
            self.num_unexpected += 1
            logger.error("unexpected error", exc_info=error, extra={"error_id": error_id})
            error = InternalError(error_id)
        self._count_rejected(type(error).__name__)
        access_log.note(error=type(error).__name__)
        request_tracing.note_refusal(type(error).__name__)
        return error

    def count_unauthenticated(self, path: str) -> None:
        """Count and log a call that was refused because of its token."""
        with access_log.Entry(self.log, "grpc", path.rpartition("/")[2][:64]) as entry:
            entry.status = error_status.code_name(self.typed(Unauthenticated()))

    async def attempt(
        self, work: Awaitable[ResultT], refuse: Callable[[ConstellationError], ResultT]
    ) -> ResultT:
        """Return the result of `work`, or what `refuse` returns for its typed error."""
        try:
            return await work
        except Exception as error:  # noqa: BLE001 - as for gRPC's handlers, below
            return refuse(self.typed(error))

    async def refuse(self, context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
        """End the call with the gRPC status of `error`; always raises."""
        try:
            await context.abort(*error_status.terms(self.typed(error)))
        except grpc.aio.InternalError:  # the caller has disconnected
            raise asyncio.CancelledError from None


def _check(request: Any) -> Any:
    if hasattr(request, "__aiter__"):  # a stream of requests
        return (_check(each) async for each in request)
    if isinstance(request, Malformed):
        raise InvalidRequest("the message", request.reason, "protobuf with valid UTF-8")
    return request


def _guarded(
    method: Callable[..., Awaitable[Any]], guard: Guard, method_path: str
) -> Callable[..., Awaitable[Any]]:
    name, is_traced = method_path.strip("/"), method.__name__ in request_tracing.TRACED

    async def handle(request: Any, context: Any) -> Any:
        with access_log.Entry(guard.log, "grpc", method.__name__) as entry:
            try:
                work = method(_check(request), context)
                if guard.tracing is not None and is_traced:
                    headers, facts = context.invocation_metadata(), request_tracing.rpc_facts(name)
                    work = request_tracing.traced(guard.tracing, name, headers, facts, work)
                reply = await work
            except (asyncio.CancelledError, grpc.aio.AbortError):
                raise
            except Exception as error:  # noqa: BLE001 - the one place that answers for all handlers
                entry.status = error_status.code_name(error)
                await guard.refuse(context, error)
            else:
                entry.status = "OK"
                return reply

    return handle


async def write(
    context: grpc.aio.ServicerContext[Any, Any], reply: Message | bytes, *, stall_s: float
) -> None:
    """Send one reply of a stream.

    Raises:
        Cancelled: The client disconnected, or read nothing for `stall_s` seconds.
    """
    try:
        async with asyncio.timeout(stall_s):
            await context.write(reply)
    except TimeoutError:
        raise Cancelled(f"the client read nothing for {stall_s:g} s") from None
    except grpc.aio.InternalError:
        raise Cancelled("the client disconnected") from None


def handlers(service: ServiceDescriptor, servicer: object, guard: Guard) -> grpc.GenericRpcHandler:
    """Return the gRPC handlers of a service.

    Args:
        service: Descriptor of the service.
        servicer: Object with one coroutine per RPC, named like the RPC; a streaming RPC's
            coroutine calls `write`.
        guard: Handles the errors of all coroutines.
    """
    table = {}
    for method in service.methods:
        make = getattr(grpc, f"{_arity(method)}_rpc_method_handler")
        table[method.name] = make(
            _guarded(getattr(servicer, method.name), guard, path(method)),
            request_deserializer=_decoder(GetMessageClass(method.input_type)),
            response_serializer=_encode,
        )
    return grpc.method_handlers_generic_handler(service.full_name, table)


class Stub:
    """Client stub with one callable per RPC of a service, over a sync or async channel."""

    def __init__(
        self, channel: Any, service: ServiceDescriptor, *, raw_replies: bool = False
    ) -> None:
        for method in service.methods:
            make = getattr(channel, _arity(method))
            decode = None if raw_replies else GetMessageClass(method.output_type).FromString
            call = make(
                path(method),
                request_serializer=GetMessageClass(method.input_type).SerializeToString,
                response_deserializer=decode,
            )
            setattr(self, method.name, call)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AttributeError(name)  # for type checkers: the callables are set in __init__
