"""Bad input, full queues, deadlines and silent readers: typed errors, and nothing is harmed."""

import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from cluster.state_file import RunState
from constellation import Client
from constellation.client.retries import RetryPolicy
from constellation.errors import (
    ConstellationError,
    DeadlineExceeded,
    InvalidBasin,
    InvalidPrompt,
    InvalidRequest,
    MessageTooLarge,
    OutOfDomain,
    Overloaded,
    UnknownKernel,
)
from constellation.v1 import common_pb2, constellation_pb2
from constellation.wire import channel, error_status, services
from tests.support.artifacts import PROMPTS

pytestmark = pytest.mark.ray

ONCE = RetryPolicy(attempts_max=1)
POINT = np.full(64, 1 / 64)


@pytest.fixture
def stars(constellation: RunState) -> Iterator[Client]:
    with Client(constellation.endpoint, retries=ONCE) as client:
        yield client
        # Whatever was refused, the constellation is well: it answers, and nothing surprised it.
        assert client.ask(PROMPTS["mail"], tokens_max=2).finish.num_tokens <= 2
        assert client.status().num_unexpected_errors == 0


@pytest.fixture
def stub(constellation: RunState) -> Iterator[services.Stub]:
    with grpc.insecure_channel(constellation.endpoint, options=channel.CHANNEL_OPTIONS) as opened:
        yield services.Stub(opened, services.CONSTELLATION)


def _refusal(call: Any) -> ConstellationError:
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    return error_status.from_rpc_error(caught.value, endpoint="test", limit_bytes=0)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"text": ""}, InvalidPrompt),
        ({"text": "word " * 400}, InvalidPrompt),
        ({"text": "a" * (1024 * 1024 + 1)}, InvalidPrompt),
        ({"text": "a" * (5 * 1024 * 1024)}, MessageTooLarge),
        ({"text": "x", "kernel": "nobody"}, UnknownKernel),
        ({"text": "x", "top_k": 4}, InvalidRequest),
        ({"text": "x", "basin": np.full(63, 1 / 63)}, InvalidBasin),
        ({"text": "x", "basin": POINT * 2}, InvalidBasin),
        ({"text": "x", "basin": np.where(np.arange(64) == 3, math.nan, POINT)}, InvalidBasin),
        ({"text": "x", "basin": np.where(np.arange(64) == 3, -1e-3, POINT)}, InvalidBasin),
    ],
)
def test_bad_input_gets_its_typed_error(
    stars: Client, arguments: dict[str, Any], error: type[ConstellationError]
) -> None:
    with pytest.raises(error):
        stars.ask(**arguments)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tokens_max", 0),
        ("tokens_max", 4097),
        ("temperature", math.nan),
        ("temperature", -1.0),
        ("temperature", 2.5),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("top_k", 0),
        ("min_p", 1.0),
        ("repetition_penalty", math.inf),
        ("seed", 2**63),
        ("tokens_min", 4096),
        ("presence_penalty", -2.5),
        ("frequency_penalty", math.nan),
        ("logprobs", 21),
    ],
)
def test_sampling_out_of_range_names_field_value_and_range(
    stub: services.Stub, stars: Client, field: str, value: float
) -> None:
    request = constellation_pb2.GenerateRequest(prompt="x")
    setattr(request.sampling, field, value)
    error = _refusal(stub.Generate(request, timeout=5))
    assert isinstance(error, InvalidRequest)
    assert error.field == field
    assert "from" in error.allowed


def test_unknown_enums_are_refused(stub: services.Stub, stars: Client) -> None:
    for field in ("rule", "mode"):
        request = constellation_pb2.GenerateRequest(prompt="x")
        setattr(request.routing, field, 77)
        error = _refusal(stub.Generate(request, timeout=5))
        assert isinstance(error, InvalidRequest)
        assert error.field == f"routing.{field}"


def test_bytes_that_are_no_message_are_refused(constellation: RunState, stars: Client) -> None:
    with grpc.insecure_channel(constellation.endpoint) as opened:
        call = opened.unary_stream("/constellation.v1.ConstellationService/Generate")
        for data in (b"\xff\xff\xff", b"\x0a\x02\xc3\x28", b"\x0a\x7fshort"):
            assert isinstance(_refusal(call(data, timeout=5)), InvalidRequest)


def test_out_of_domain_is_refused_only_when_asked(stars: Client) -> None:
    far_K = np.full(64, 1e-9)
    far_K[63] = 1 - far_K[:63].sum()
    text = PROMPTS["mail"] * 8
    assert stars.ask(text, basin=far_K, tokens_max=1).text
    with pytest.raises(OutOfDomain) as caught:
        stars.ask(text, basin=far_K, refuse=0.5)
    assert set(caught.value.distances) == set(caught.value.radii) == set(PROMPTS)


def test_a_deadline_stops_the_work_within_a_step(stars: Client) -> None:
    started_s = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        stars.ask(PROMPTS["mail"], tokens_max=100, kernel="mail", timeout_s=0.02)
    assert time.monotonic() - started_s < 2
    _wait_until_idle(stars)


def test_a_cancelled_stream_frees_its_slot(stars: Client) -> None:
    for _ in range(10):  # more than slots and queue hold together
        with stars.stream(PROMPTS["mail"], tokens_max=100, kernel="mail") as stream:
            next(iter(stream))
    _wait_until_idle(stars)


def test_a_full_queue_refuses_with_the_time_to_wait(stars: Client) -> None:
    outcomes: list[object] = []

    def ask() -> None:
        try:
            outcomes.append(stars.ask(PROMPTS["mail"], tokens_max=100, kernel="mail").text)
        except ConstellationError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=ask) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [outcome for outcome in outcomes if isinstance(outcome, Overloaded)]
    assert len(outcomes) == 24
    assert len(refused) + sum(isinstance(o, str) for o in outcomes) == 24
    assert refused
    assert all(error.retry_after_s > 0 for error in refused)


def test_a_silent_reader_loses_its_slot(constellation: RunState, stars: Client) -> None:
    """A connection that stops reading holds at most its buffers; stall_s later it is cut off."""
    options = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
    with grpc.insecure_channel(constellation.endpoint, options=options) as opened:
        stub = services.Stub(opened, services.CONSTELLATION)
        request = constellation_pb2.GenerateRequest(
            prompt=PROMPTS["mail"],
            sampling=common_pb2.Sampling(tokens_max=100),
            routing=constellation_pb2.Routing(kernel="mail"),
        )
        calls = [stub.Generate(request, timeout=60) for _ in range(2)]
        _wait_until_idle(stars)
        for call in calls:
            call.cancel()


def _wait_until_idle(stars: Client) -> None:
    """Return when no kernel works or waits; fail after ten seconds."""
    deadline_s = time.monotonic() + 10
    pause = threading.Event()
    while any(kernel.num_running + kernel.queue_depth for kernel in stars.status().kernels):
        assert time.monotonic() < deadline_s, stars.status()
        pause.wait(0.05)
