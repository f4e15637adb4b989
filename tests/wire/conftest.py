"""One real server per test, and a plain gRPC channel to it."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from constellation.wire.channel import CHANNEL_OPTIONS
from constellation.wire.services import CONSTELLATION, KERNEL, Stub
from tests.wire.fakes import Served


@pytest.fixture
def served() -> Iterator[Served]:
    with Served() as served:
        yield served


@pytest.fixture
def channel(served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(served.endpoint, options=CHANNEL_OPTIONS) as channel:
        yield channel


@pytest.fixture
def router(channel: Any) -> Stub:
    return Stub(channel, CONSTELLATION)


@pytest.fixture
def kernel(channel: Any) -> Stub:
    return Stub(channel, KERNEL)
