"""Every row of the bad-input table that needs no live kernel, against a real server.

Each row is sent as a foreign client would send it; the server answers with its typed error, counts
it under its class, and answers the next call as if nothing had happened.
"""

import math
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from constellation import errors
from constellation.v1 import common_pb2, constellation_pb2, kernel_pb2
from constellation.wire import error_status
from constellation.wire.channel import MESSAGE_BYTES_MAX
from constellation.wire.convert import TEXT_BYTES_MAX
from constellation.wire.services import Stub
from tests.wire.fakes import Served

SERVICE = "/constellation.v1.ConstellationService"


def refusal(call: Callable[[], Any]) -> tuple[errors.ConstellationError, grpc.RpcError]:
    """Return the typed error of a call that must fail, and what grpc raised."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    typed = error_status.from_rpc_error(caught.value, endpoint="?", limit_bytes=MESSAGE_BYTES_MAX)
    return typed, caught.value


def generate(router: Stub, prompt: str = "a b", **fields: Any) -> list[Any]:
    request = constellation_pb2.GenerateRequest(prompt=prompt, **fields)
    return list(router.Generate(request, timeout=10))


def sampling(**fields: Any) -> dict[str, Any]:
    return {"sampling": common_pb2.Sampling(**fields)}


def routing(**fields: Any) -> dict[str, Any]:
    return {"routing": constellation_pb2.Routing(**fields)}


def basin(values: list[float]) -> dict[str, Any]:
    return routing(basin=common_pb2.Point(values=values))


THIRD = [1 / 64] * 63
ROWS: list[tuple[dict[str, Any], type[errors.ConstellationError], dict[str, Any]]] = [
    ({"prompt": ""}, errors.InvalidPrompt, {"length": 0, "limit": TEXT_BYTES_MAX}),
    (
        {"prompt": "x" * (TEXT_BYTES_MAX + 1)},
        errors.InvalidPrompt,
        {"length": TEXT_BYTES_MAX + 1, "limit": TEXT_BYTES_MAX, "unit": "bytes"},
    ),
    (routing(rule=9), errors.InvalidRequest, {"field": "routing.rule", "value": "9"}),
    (routing(mode=9), errors.InvalidRequest, {"field": "routing.mode", "value": "9"}),
    (basin([math.nan, *THIRD]), errors.InvalidBasin, {}),
    (basin([math.inf, *THIRD]), errors.InvalidBasin, {}),
    (basin([-1 / 64, *THIRD]), errors.InvalidBasin, {}),
    (basin([1.0]), errors.InvalidBasin, {}),
    (basin([0.5, *THIRD]), errors.InvalidBasin, {}),
    (
        routing(kernel="nobody"),
        errors.UnknownKernel,
        {"kernel": "nobody", "known": ["python", "poetry", "law"]},
    ),
    (sampling(tokens_max=0), errors.InvalidRequest, {"field": "tokens_max", "value": "0"}),
    (sampling(tokens_max=4097), errors.InvalidRequest, {"field": "tokens_max"}),
    (sampling(temperature=-0.5), errors.InvalidRequest, {"field": "temperature", "value": "-0.5"}),
    (sampling(temperature=2.5), errors.InvalidRequest, {"field": "temperature"}),
    (sampling(temperature=math.nan), errors.InvalidRequest, {"value": "nan"}),
    (sampling(top_k=0), errors.InvalidRequest, {"field": "top_k"}),
    (sampling(top_p=0), errors.InvalidRequest, {"field": "top_p"}),
    (sampling(top_p=math.nan), errors.InvalidRequest, {"field": "top_p", "value": "nan"}),
    (sampling(min_p=1), errors.InvalidRequest, {"field": "min_p"}),
    (sampling(repetition_penalty=0.1), errors.InvalidRequest, {"field": "repetition_penalty"}),
    (sampling(repetition_penalty=math.nan), errors.InvalidRequest, {"value": "nan"}),
    (sampling(seed=2**63), errors.InvalidRequest, {"field": "seed"}),
    (sampling(tokens_min=129), errors.InvalidRequest, {"field": "tokens_min", "value": "129"}),
    (sampling(presence_penalty=2.5), errors.InvalidRequest, {"field": "presence_penalty"}),
    (sampling(frequency_penalty=math.nan), errors.InvalidRequest, {"value": "nan"}),
    (sampling(logit_bias={1: 101.0}), errors.InvalidRequest, {"field": "logit_bias"}),
    (sampling(logit_bias={2**31: 1.0}), errors.InvalidRequest, {"field": "logit_bias"}),
    (sampling(stop=["a"] * 9), errors.InvalidRequest, {"field": "stop"}),
    (sampling(stop=[""]), errors.InvalidRequest, {"field": "stop", "value": "('',)"}),
    (sampling(logprobs=21), errors.InvalidRequest, {"field": "logprobs", "value": "21"}),
    (
        routing(refuse_out_of_domain=True),
        errors.OutOfDomain,
        {"distances": {"python": 0.5, "poetry": 0.75, "law": 1.25}},
    ),
]


@pytest.mark.parametrize(("fields", "kind", "facts"), ROWS)
def test_a_bad_request_gets_its_typed_error_and_harms_nothing(
    served: Served,
    router: Stub,
    fields: dict[str, Any],
    kind: type[errors.ConstellationError],
    facts: dict[str, Any],
) -> None:
    error, raw = refusal(lambda: generate(router, **fields))
    assert type(error) is kind
    assert raw.code() is error_status.STATUS_OF[kind]
    assert vars(error).items() >= facts.items()
    assert served.router.rejected == {kind.__name__: 1}
    assert served.guard.num_unexpected == 0
    assert len(generate(router)) == 3


def test_every_method_checks_its_texts(router: Stub) -> None:
    too_long = "x" * (TEXT_BYTES_MAX + 1)
    v1 = constellation_pb2
    calls: list[Callable[[], Any]] = [
        lambda: router.Score(v1.ScoreRequest(text="")),
        lambda: router.Score(v1.ScoreRequest(text="a", context=too_long)),
        lambda: router.Route(v1.RouteRequest(text="")),
        lambda: router.Route(v1.RouteRequest(text=too_long)),
        lambda: router.Basin(v1.BasinRequest(text=too_long)),
    ]
    for call in calls:
        assert type(refusal(call)[0]) is errors.InvalidPrompt


def test_every_method_checks_its_routing(router: Stub) -> None:
    bad = constellation_pb2.Routing(rule=9)  # type: ignore[arg-type]
    v1 = constellation_pb2
    for call in (
        lambda: router.Score(v1.ScoreRequest(text="a", routing=bad)),
        lambda: router.Route(v1.RouteRequest(text="a", routing=bad)),
    ):
        assert type(refusal(call)[0]) is errors.InvalidRequest


def test_a_route_by_basin_needs_no_text(router: Stub) -> None:
    point = common_pb2.Point(values=[1 / 64] * 64)
    request = constellation_pb2.RouteRequest(routing=constellation_pb2.Routing(basin=point))
    assert list(router.Route(request).basin.values) == [1 / 64] * 64


INVALID_UTF8 = b"\x0a\x02\xff\xfe"  # field 1, a string of two bytes that are no UTF-8
TRUNCATED = b"\x0a\x7fabc"
WRONG_WIRE_TYPE = b"\x0f"


@pytest.mark.parametrize("data", [INVALID_UTF8, TRUNCATED, WRONG_WIRE_TYPE])
@pytest.mark.parametrize("method", ["Route", "Basin", "Score", "Generate"])
def test_bytes_that_are_no_message_are_an_invalid_request(
    served: Served, channel: Any, method: str, data: bytes
) -> None:
    if method == "Generate":
        error, raw = refusal(lambda: list(channel.unary_stream(f"{SERVICE}/{method}")(data)))
    else:
        error, raw = refusal(lambda: channel.unary_unary(f"{SERVICE}/{method}")(data))
    assert isinstance(error, errors.InvalidRequest)
    assert error.field == "the message"
    assert raw.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert served.guard.num_unexpected == 0


def test_a_message_over_the_limit_is_refused_by_the_server(served: Served) -> None:
    with grpc.insecure_channel(served.endpoint) as unlimited:
        route = unlimited.unary_unary(f"{SERVICE}/Route")
        error, raw = refusal(lambda: route(b"\x0a" + b"x" * (MESSAGE_BYTES_MAX + 1), timeout=10))
        assert raw.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert isinstance(error, errors.MessageTooLarge)
        assert error.limit_bytes == MESSAGE_BYTES_MAX
        request = constellation_pb2.RouteRequest(text="after")
        assert route(request.SerializeToString(), timeout=10)


def test_a_message_over_the_limit_is_not_even_sent_by_our_channel(router: Stub) -> None:
    text = "x" * (MESSAGE_BYTES_MAX + 1)
    error, _ = refusal(lambda: router.Basin(constellation_pb2.BasinRequest(text=text)))
    assert isinstance(error, errors.MessageTooLarge)


@pytest.mark.parametrize(
    "failure",
    [
        errors.Overloaded("the router", depth=1024, retry_after_s=0.25),
        errors.KernelUnavailable("law", "its process is gone"),
        errors.DeadlineExceeded("the deadline passed"),
        errors.InvalidPrompt(length=500, limit=127),
        errors.InvalidRequest("top_k", 9, "1 to 3"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_what_a_host_refuses_reaches_the_caller_with_its_facts(
    served: Served, router: Stub, failure: errors.ConstellationError
) -> None:
    served.router.failures.append(failure)
    error, raw = refusal(lambda: generate(router))
    assert type(error) is type(failure)
    assert vars(error) == vars(failure)
    assert str(error) == str(failure) == raw.details()


def test_the_kernel_checks_its_sampling_too(kernel: Stub) -> None:
    bad = common_pb2.Sampling(temperature=math.nan)
    request = kernel_pb2.KernelGenerateRequest(tokens=[1], sampling=bad)
    error, _ = refusal(lambda: list(kernel.Generate(request)))
    assert isinstance(error, errors.InvalidRequest)


def test_a_method_that_does_not_exist_is_a_typed_error(channel: Any) -> None:
    error, raw = refusal(lambda: channel.unary_unary(f"{SERVICE}/Destroy")(b""))
    assert raw.code() is grpc.StatusCode.UNIMPLEMENTED
    assert isinstance(error, errors.InternalError)
