"""The ways to one or several routers: one is taken until it is lost, then the next.

Both clients share this; which kind of channel they open they say themselves.
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
class Way:
    """The way to one server."""

    endpoint: str
    channel: Any
    stub: Any
    """Has a callable for every RPC."""
    health: Any = None


class Ways:
    """The routers that a client knows, in the order in which they are tried.

    Callers in several threads may lose the same router at once: the first of them goes on to the
    next, the others follow, since what they lost is no longer what is taken.
    """

    def __init__(self, endpoints: Sequence[str], open_channel: Callable[[str], Any]) -> None:
        self._endpoints = tuple(endpoints)
        self._open_channel = open_channel
        self._opened: dict[str, Way] = {}
        self._taken = self._endpoints[0]
        self._owner = Owner()

    def current(self) -> Way:
        """Return the way that is taken now; it is opened when it is taken for the first time."""
        self._owner.check_process()
        endpoint = self._taken
        way = self._opened.get(endpoint)
        if way is None:
            channel = self._open_channel(endpoint)
            health = health_pb2_grpc.HealthStub(channel)
            way = Way(endpoint, channel, Stub(channel, CONSTELLATION), health)
            # Another thread may have opened one meanwhile; then both use that.
            way = self._opened.setdefault(endpoint, way)
        return way

    def note(self, error: ConstellationError) -> None:
        """Go on with the next router when this error says that the one that is taken is lost."""
        if isinstance(error, ServiceUnavailable) and error.endpoint == self._taken:
            place = self._endpoints.index(self._taken) + 1
            self._taken = self._endpoints[place % len(self._endpoints)]

    def channels(self) -> list[Any]:
        """Return the channels that were opened, for closing."""
        return [way.channel for way in tuple(self._opened.values())]


class KernelWays:
    """The ways to kernels, for clients that call them without a router."""

    def __init__(self, open_channel: Callable[[str], Any]) -> None:
        self._open_channel = open_channel
        self._opened: dict[str, Way] = {}
        # Answers under way keep a channel to a kernel that has moved or is leaving.
        self._left: deque[Way] = deque(maxlen=_LEFT_MAX)

    def to(self, endpoint: str) -> Way:
        """Return the way to a process of kernels; it is opened when it is taken first."""
        way = self._opened.get(endpoint)
        if way is None:
            channel = self._open_channel(endpoint)
            way = Way(endpoint, channel, _KernelStub(channel))
            way = self._opened.setdefault(endpoint, way)
        return way

    def keep(self, endpoints: set[str]) -> None:
        """Take no others from now on."""
        for endpoint in set(self._opened) - endpoints:
            way = self._opened.pop(endpoint, None)
            if way is not None:
                self._left.append(way)

    def channels(self) -> list[Any]:
        """Return the channels that were opened, for closing."""
        return [way.channel for way in (*self._opened.values(), *self._left)]


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
