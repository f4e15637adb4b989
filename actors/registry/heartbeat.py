"""Heartbeats: gRPC calls by which the registry checks that every member still answers."""

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from constellation.records import KernelDescription
from constellation.wire import channel, services
from constellation.wire.descriptions import description_from_message
from constellation.wire.tls import ClientTls

ANSWER_S = 1.0
"""Seconds a member may take to answer."""


class Heartbeats:
    """Sends heartbeats to members, over one connection to each."""

    def __init__(self, token: str | None, tls: ClientTls | None = None) -> None:
        self._tls = tls
        self._metadata = channel.credentials(token)
        self._channels: dict[str, tuple[str, grpc.aio.Channel]] = {}

    async def router(self, member: str, endpoint: str) -> None:
        """Check that a router answers.

        Raises:
            grpc.aio.AioRpcError: The member did not answer in time, or does not listen.
        """
        stub = health_pb2_grpc.HealthStub(self._channel(member, endpoint))
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_S)

    async def kernels(self, member: str, endpoint: str) -> tuple[KernelDescription, ...]:
        """Return what a process says of its kernels.

        Raises:
            grpc.aio.AioRpcError: The member did not answer in time, or does not listen.
        """
        stub = services.Stub(self._channel(member, endpoint), services.KERNEL)
        request = services.request_class(services.KERNEL, "DescribeAll")()
        reply: Any = await stub.DescribeAll(request, timeout=ANSWER_S, metadata=self._metadata)
        return tuple(description_from_message(each) for each in reply.kernels)

    async def forget(self, member: str) -> None:
        """Close the connection to a member that has left, after the member's last answer."""
        known = self._channels.pop(member, None)
        if known is not None:
            await known[1].close(ANSWER_S)

    def _channel(self, member: str, endpoint: str) -> grpc.aio.Channel:
        known = self._channels.get(member)
        if known is None or known[0] != endpoint:
            opened = channel.open_async_channel(endpoint, self._tls)
            self._channels[member] = known = (endpoint, opened)
        return known[1]
