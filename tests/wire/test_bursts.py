"""More callers at once than there is room for: each is answered, or refused in a way to retry.

The server has fewer places than there are callers, and grpc's own queue of new calls is shorter
than a burst of two thousand unless it is told otherwise.
"""

import asyncio
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from constellation import AsyncClient, Client
from constellation.client import Timeouts
from constellation.errors import ConstellationError, Overloaded, ServiceUnavailable
from constellation.runtime.admission import Admission
from constellation.v1 import constellation_pb2
from constellation.wire import error_status
from constellation.wire.channel import CHANNEL_OPTIONS
from constellation.wire.services import CONSTELLATION, Stub
from tests.wire.fakes import FakeRouter, Served

pytestmark = pytest.mark.slow


STREAMS = 2_000
PLACES = 200


class NarrowRouter(FakeRouter):
    """Has a few places, as a router has, which are all kept until one caller more has come."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission("the router", slots=PLACES, queue_max=0)
        self.num_arrived = 0
        self.is_full = asyncio.Event()

    async def generate(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        ticket = object()
        self.num_arrived += 1
        if self.num_arrived > PLACES:
            self.is_full.set()
        self.admission.arrive(ticket, now_s=time.monotonic())
        try:
            await self.is_full.wait()
            async for pair in super().generate(*args, **kwargs):
                yield pair
        finally:
            self.admission.leave(ticket, now_s=time.monotonic())


@pytest.fixture
def narrow() -> Iterator[Served]:
    with Served(router=NarrowRouter()) as served:
        yield served


async def answered_by_our_client(endpoint: str) -> Counter[str]:
    async with AsyncClient(endpoint) as stars:

        async def ask(number: int) -> str:
            try:
                async with stars.stream(f"number {number}") as stream:
                    text = "".join([piece.text async for piece in stream])
            except ConstellationError as error:
                return repr(error)
            return "right" if text == f"number {number}" else text

        return Counter(await asyncio.gather(*(ask(number) for number in range(STREAMS))))


async def ended_for_a_plain_client(endpoint: str) -> Counter[str]:
    async with grpc.aio.insecure_channel(endpoint, options=CHANNEL_OPTIONS) as channel:
        stub = Stub(channel, CONSTELLATION)

        async def ask() -> str:
            request = constellation_pb2.GenerateRequest(prompt="a b")
            try:
                async for _ in stub.Generate(request, timeout=60):
                    pass
            except grpc.RpcError as error:
                typed = error_status.from_rpc_error(error, endpoint=endpoint, limit_bytes=1)
                return f"{error.code().name} {type(typed).__name__} {typed.retryable}"
            return "right"

        return Counter(await asyncio.gather(*(ask() for _ in range(STREAMS))))


def test_of_two_thousand_streams_at_once_none_is_refused_for_good(narrow: Served) -> None:
    assert asyncio.run(answered_by_our_client(narrow.endpoint)) == {"right": STREAMS}
    assert narrow.router.rejected[Overloaded.__name__] > 0  # the burst met the limit


def test_a_plain_client_hears_of_each_limit_with_the_details_of_it(narrow: Served) -> None:
    ended = asyncio.run(ended_for_a_plain_client(narrow.endpoint))
    assert set(ended) == {"right", "RESOURCE_EXHAUSTED Overloaded True"}
    assert sum(ended.values()) == STREAMS
    assert narrow.router.rejected == {"Overloaded": STREAMS - ended["right"]}


FEW_FILES = """
import resource, sys
from tests.wire.fakes import Served
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
with Served() as served:
    print(served.endpoint, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def with_few_files() -> Iterator[str]:
    """Return the endpoint of a server that may have a hundred files open."""
    command = [sys.executable, "-c", FEW_FILES]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.communicate("")


def test_a_caller_beyond_the_open_files_is_told_so_and_answered_when_others_leave(
    with_few_files: str,
) -> None:
    host, _, port = with_few_files.rpartition(":")
    with ExitStack() as others, Client(with_few_files, timeouts=Timeouts(connect_s=2)) as stars:
        for _ in range(120):
            others.enter_context(socket.create_connection((host, int(port))))
        with pytest.raises(ServiceUnavailable, match="as many open files as it may have") as caught:
            stars.ask("a")
        assert caught.value.retryable
        others.close()
        assert stars.ask("a b").text == "a b"
