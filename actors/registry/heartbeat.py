"""Heartbeats: gRPC calls by which the registry checks that every member still answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from actors.background_tasks import begin
from constellation.records import KernelDescription, Progress
from constellation.wire import channel, services
from constellation.wire.descriptions import description_from_message, progress_from_message
from constellation.wire.tls import ClientTls

ANSWER_S = 1.0
"""Seconds a member may take to answer."""

PROBE_TEXT = "probe"
"""Text whose route the registry asks of routers, to see that they route."""


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
        with self._dropped_when_silent(member, endpoint):
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_S)

    async def route(self, member: str, endpoint: str, *, timeout_s: float) -> None:
        """Have a router decide on the route of a text.

        Raises:
            grpc.aio.AioRpcError: The router refused, failed or did not answer in time.
        """
        stub = services.Stub(self._channel(member, endpoint), services.CONSTELLATION)
        request = services.request_class(services.CONSTELLATION, "Route")(text=PROBE_TEXT)
        await stub.Route(request, timeout=timeout_s, metadata=self._metadata)

    async def kernels(
        self, member: str, endpoint: str
    ) -> tuple[tuple[KernelDescription, ...], Progress]:
        """Return what a process says of its kernels, and of the tokens that they write.

        Raises:
            grpc.aio.AioRpcError: The member did not answer in time, or does not listen.
        """
        stub = services.Stub(self._channel(member, endpoint), services.KERNEL)
        request = services.request_class(services.KERNEL, "DescribeAll")()
        with self._dropped_when_silent(member, endpoint):
            reply: Any = await stub.DescribeAll(request, timeout=ANSWER_S, metadata=self._metadata)
        described = tuple(description_from_message(each) for each in reply.kernels)
        return described, progress_from_message(reply.progress)

    async def forget(self, member: str) -> None:
        """Close the connection to a member that has left, after the member's last answer."""
        _, left = self._channels.pop(member, ("", None))
        if left is not None:
            await left.close(ANSWER_S)

    @contextmanager
    def _dropped_when_silent(self, member: str, endpoint: str) -> Iterator[None]:
        """Drop the connection to another machine that did not answer in time.

        A connection that was cut off sends again after pauses that double; after a long cut it
        would stay silent for as long again. The next heartbeat opens a new connection.
        """
        try:
            yield
        except grpc.aio.AioRpcError as error:
            is_silent = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if is_silent and channel.crosses_network(endpoint):
                _, silent = self._channels.pop(member, (endpoint, None))
                if silent is not None:
                    begin("closing", silent.close(None))
            raise

    def _channel(self, member: str, endpoint: str) -> grpc.aio.Channel:
        known = self._channels.get(member)
        if known is None or known[0] != endpoint:
            opened = channel.open_async_channel(endpoint, self._tls)
            self._channels[member] = known = (endpoint, opened)
        return known[1]
