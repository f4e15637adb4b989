"""How `benchmarks.dispatch` calls each of the systems that it compares."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from benchmarks.load_generator import Invoke
from constellation.client.async_client import AsyncClient
from constellation.client.async_direct import AsyncDirectClient
from constellation.coordizer.coordizer import Coordizer
from constellation.v1 import constellation_pb2
from constellation.wire import channel, services

TIMEOUT_S = 30


def _open(endpoint: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(endpoint, options=channel.CHANNEL_OPTIONS)


@asynccontextmanager
async def echo(endpoint: str) -> AsyncIterator[Invoke]:
    """Call a bare server that returns what it is sent."""
    async with _open(endpoint) as opened:
        call = opened.unary_unary("/bench.Echo/Echo")

        async def invoke(text: str) -> bytes:
            reply: bytes = await call(text.encode(), timeout=TIMEOUT_S)
            return reply

        yield invoke


@asynccontextmanager
async def routed(endpoint: str, token: str | None) -> AsyncIterator[Invoke]:
    """Call a router by its bare stub."""
    async with _open(endpoint) as opened:
        stub = services.Stub(opened, services.CONSTELLATION)
        metadata = channel.credentials(token)

        async def invoke(text: str) -> None:
            request = constellation_pb2.GenerateRequest(prompt=text)
            reply = await stub.Ask(request, timeout=TIMEOUT_S, metadata=metadata)
            assert reply.text == "ok"

        yield invoke


@asynccontextmanager
async def serve(endpoint: str) -> AsyncIterator[Invoke]:
    """Call Ray Serve's ingress."""
    from benchmarks import serve_peer

    async with _open(endpoint) as opened:
        call = opened.unary_unary(
            serve_peer.METHOD,
            request_serializer=constellation_pb2.GenerateRequest.SerializeToString,
            response_deserializer=constellation_pb2.GenerateReply.FromString,
        )

        async def invoke(text: str) -> None:
            request = constellation_pb2.GenerateRequest(prompt=text)
            reply = await call(request, timeout=TIMEOUT_S, metadata=serve_peer.metadata())
            assert reply.text == "ok"

        yield invoke


@asynccontextmanager
async def client(endpoint: str, token: str | None) -> AsyncIterator[Invoke]:
    """Call a router by the library's client."""
    async with AsyncClient(endpoint, token=token) as stars:

        async def invoke(text: str) -> None:
            assert (await stars.ask(text)).text == "ok"

        yield invoke


@asynccontextmanager
async def direct(endpoint: str, token: str | None, coordizer: Coordizer) -> AsyncIterator[Invoke]:
    """Call kernels by the library's direct client."""
    async with AsyncDirectClient(endpoint, coordizer, token=token) as stars:

        async def invoke(text: str) -> None:
            assert (await stars.ask(text)).text == "ok"

        yield invoke
