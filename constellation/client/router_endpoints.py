"""Connections to routers, one of which is used until it is lost, and to kernels.

Synchronous and asynchronous clients share this file; each gives the function that opens its kind of
channel.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from grpc_health.v1 import health_pb2_grpc

from constellation.client.ownership import Owner
from constellation.errors import ConstellationError, ServiceUnavailable
from constellation.v1 import constellation_pb2, kernel_pb2
from constellation.wire.services import CONSTELLATION, KERNEL, Stub, path

_LEFT_MAX = 64


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """A connection to one server."""

    endpoint: str
    channel: Any
    stub: Any
    """Has a callable for every RPC."""
    health: Any = None


class RouterConnections:
    """The routers that a client knows, in the order in which they are tried.

    Callers in several threads may lose the same router at once: the first caller switches to the
    next router, and the others use it too, since the router they lost is no longer the current one.
    """

    def __init__(self, endpoints: Sequence[str], open_channel: Callable[[str], Any]) -> None:
        self._endpoints = tuple(endpoints)
        self._open_channel = open_channel
        self._opened: dict[str, Connection] = {}
        self._current = self._endpoints[0]
        self._owner = Owner()

    def current(self) -> Connection:
        """Return the connection to the current router, opened on first use."""
        self._owner.check_process()
        endpoint = self._current
        connection = self._opened.get(endpoint)
        if connection is None:
            channel = self._open_channel(endpoint)
            health = health_pb2_grpc.HealthStub(channel)
            connection = Connection(endpoint, channel, Stub(channel, CONSTELLATION), health)
            # Another thread may have opened one meanwhile; then both threads use that one.
            connection = self._opened.setdefault(endpoint, connection)
        return connection

    def switch_after(self, error: ConstellationError) -> None:
        """Switch to the next router when `error` says that the current router is lost."""
        if isinstance(error, ServiceUnavailable) and error.endpoint == self._current:
            place = self._endpoints.index(self._current) + 1
            self._current = self._endpoints[place % len(self._endpoints)]

    def channels(self) -> list[Any]:
        """Return the channels that were opened, for closing."""
        return [connection.channel for connection in tuple(self._opened.values())]


class KernelConnections:
    """Connections to kernels, for clients that call kernels without a router."""

    def __init__(self, open_channel: Callable[[str], Any]) -> None:
        self._open_channel = open_channel
        self._opened: dict[str, Connection] = {}
        # Answers that are being written keep a channel to a kernel that has moved or is leaving.
        self._left: deque[Connection] = deque(maxlen=_LEFT_MAX)

    def open(self, endpoint: str) -> Connection:
        """Return the connection to a process of kernels, opened on first use."""
        connection = self._opened.get(endpoint)
        if connection is None:
            channel = self._open_channel(endpoint)
            connection = Connection(endpoint, channel, _KernelStub(channel))
            connection = self._opened.setdefault(endpoint, connection)
        return connection

    def keep_only(self, endpoints: set[str]) -> None:
        """Forget the connections to other endpoints; they are closed with the client."""
        for endpoint in set(self._opened) - endpoints:
            connection = self._opened.pop(endpoint, None)
            if connection is not None:
                self._left.append(connection)

    def channels(self) -> list[Any]:
        """Return the channels that were opened, for closing."""
        return [connection.channel for connection in (*self._opened.values(), *self._left)]


class _KernelStub(Stub):
    """A kernel's RPCs; an answer is read as a router's, whose fields have the same numbers."""

    def __init__(self, channel: Any) -> None:
        super().__init__(channel, KERNEL)
        for name, make in (("Ask", channel.unary_unary), ("Generate", channel.unary_stream)):
            call = make(
                path(KERNEL.methods_by_name[name]),
                request_serializer=kernel_pb2.KernelGenerateRequest.SerializeToString,
                response_deserializer=constellation_pb2.GenerateReply.FromString,
            )
            setattr(self, name, call)
