"""Records survive the way through messages; what is out of range does not get in."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import InvalidBasin, InvalidPrompt, InvalidRequest
from constellation.records import (
    Alternative,
    Choice,
    Finish,
    FinishReason,
    KernelDescription,
    Mode,
    Piece,
    Route,
    RoutingOptions,
    Rule,
    Sampling,
    TokenInfluence,
    TokenLogprob,
)
from constellation.v1 import common_pb2, constellation_pb2
from constellation.wire import convert
from constellation.wire.descriptions import description_from_message, description_to_message

names = st.text("abcdefghijklmnopqrstuvwxyz-_.", min_size=1, max_size=12)
counts = st.integers(0, 2**31)
radians = st.floats(0, math.pi)

samplings = st.builds(
    Sampling,
    tokens_max=st.integers(1, 4096),
    temperature=st.floats(0, 2),
    top_k=st.none() | st.integers(1, 65_536),
    top_p=st.floats(1e-6, 1),
    min_p=st.floats(0, 1 - 1e-6),
    repetition_penalty=st.floats(0.5, 2),
    seed=st.none() | st.integers(0, 2**63 - 1),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    logit_bias=st.dictionaries(st.integers(0, 2**31 - 1), st.floats(-100, 100), max_size=9),
    stop=st.lists(st.text(min_size=1, max_size=9), max_size=8).map(tuple),
    logprobs=st.none() | st.integers(0, 20),
    tokens_min=st.just(0) | st.just(1),
)
alternatives = {"token": counts, "text": st.binary(max_size=5), "logprob": st.floats(-99, 0)}
logprobs = st.builds(
    TokenLogprob,
    **alternatives,
    top=st.lists(st.builds(Alternative, **alternatives), max_size=3).map(tuple),
)
choices = st.builds(
    Choice,
    kernel=names,
    seat=st.none() | st.integers(0, 239),
    distance=radians,
    weight=st.floats(0, 1),
    radius=radians,
    basin=st.none() | st.integers(0, 15),
)
influences = st.builds(TokenInfluence, text=st.text(), position=counts, shift=radians)
routes = st.builds(
    Route,
    choices=st.lists(choices, max_size=4).map(tuple),
    kernel=names,
    reason=st.sampled_from(["nearest", "pinned", "failover"]),
    rule=st.sampled_from(Rule),
    mode=st.sampled_from(Mode),
    margin=radians,
    out_of_domain=st.booleans(),
    no_evidence=st.booleans(),
    num_tokens=counts,
    table_version=counts,
    influences=st.lists(influences, max_size=3).map(tuple),
    beyond_own=st.none() | st.floats(0, 1),
    beyond_foreign=st.none() | st.floats(0, 1),
)
milliseconds = st.integers(0, 10**7).map(lambda count: count / 1000)


@given(samplings)
def test_sampling_survives_the_way_through_a_message(sampling: Sampling) -> None:
    assert convert.sampling_from_message(convert.sampling_to_message(sampling)) == sampling


def test_unset_sampling_fields_take_the_defaults() -> None:
    assert convert.sampling_from_message(common_pb2.Sampling()) == Sampling()


@given(routes)
def test_a_route_survives_the_way_through_a_message(route: Route) -> None:
    assert convert.route_from_message(convert.route_to_message(route)) == route


@given(
    st.builds(
        RoutingOptions,
        rule=st.none() | st.sampled_from(Rule),
        mode=st.sampled_from(Mode),
        top_k=st.none() | st.integers(0, 2**32 - 1),
        kernel=st.none() | names,
        refuse_out_of_domain=st.booleans(),
        refuse=st.none() | st.floats(0.002, 0.5),
        explain=st.booleans(),
        without=st.lists(names, max_size=3).map(tuple),
    )
)
def test_routing_options_survive_the_way_through_a_message(options: RoutingOptions) -> None:
    assert convert.routing_from_message(convert.routing_to_message(options)) == options


@given(st.integers(0, 2**32 - 1))
def test_a_basin_survives_bit_for_bit_up_to_normalisation(seed: int) -> None:
    point_K = np.random.default_rng(seed).dirichlet(np.ones(64))
    message = convert.routing_to_message(RoutingOptions(basin_K=point_K))
    back_K = convert.routing_from_message(message).basin_K
    assert back_K is not None
    assert np.array_equal(back_K, point_K / point_K.sum())


@given(
    text=st.text(),
    num_tokens=counts,
    elapsed_s=milliseconds,
    reason=st.sampled_from(FinishReason),
    weights=st.dictionaries(names, st.floats(0, 1), max_size=3),
    lost=st.lists(names, max_size=2).map(tuple),
)
def test_a_finish_survives_inside_a_piece(
    text: str,
    num_tokens: int,
    elapsed_s: float,
    reason: FinishReason,
    weights: dict[str, float],
    lost: tuple[str, ...],
) -> None:
    finish = Finish(
        reason=reason,
        num_prompt_tokens=3,
        num_tokens=num_tokens,
        elapsed_s=elapsed_s,
        weights=weights,
        lost=lost,
    )
    message = convert.piece_to_message(Piece(text=text, num_tokens=num_tokens, finish=finish))
    assert message.text == text
    assert message.num_tokens == num_tokens
    assert convert.finish_from_message(message.finish) == finish


@given(st.lists(logprobs, max_size=3).map(tuple))
def test_logprobs_survive_inside_a_piece(given: tuple[TokenLogprob, ...]) -> None:
    message = convert.piece_to_message(Piece(text="", num_tokens=len(given), logprobs=given))
    assert convert.logprobs_from_message(message.logprobs) == given


@given(milliseconds)
def test_a_kernel_description_survives_the_way_through_a_message(uptime_s: float) -> None:
    description = KernelDescription(
        name="python",
        tokenizer_hash="ab" * 32,
        context=128,
        num_parameters=23_100_000_000,
        pid=1,
        queue_depth=2,
        num_running=3,
        uptime_s=uptime_s,
        num_unexpected_errors=4,
    )
    message = description_to_message(description)
    assert description_from_message(message) == description


def test_a_piece_prefixed_with_a_route_is_one_valid_message() -> None:
    """The router forwards a kernel's bytes: protobuf messages merge by concatenation."""
    finish = Finish(reason=FinishReason.CONTEXT, num_prompt_tokens=1, num_tokens=2, elapsed_s=3)
    piece = convert.piece_to_message(Piece(text="Straße", num_tokens=2, finish=finish))
    route = constellation_pb2.RouteDecision(kernel="law", rule=common_pb2.RULE_BEARING)
    prefix = constellation_pb2.GenerateReply(route=route)
    merged = constellation_pb2.GenerateReply.FromString(
        prefix.SerializeToString() + piece.SerializeToString()
    )
    assert merged.route.kernel == "law"
    assert merged.text == "Straße"
    assert convert.finish_from_message(merged.finish) == finish


@pytest.mark.parametrize("field", ["rule", "mode"])
def test_an_unknown_enum_number_names_the_field(field: str) -> None:
    message = constellation_pb2.Routing(**{field: 9})  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest) as caught:
        convert.routing_from_message(message)
    assert caught.value.field == f"routing.{field}"
    assert caught.value.value == "9"


def test_texts_are_measured_in_bytes() -> None:
    limit = convert.TEXT_BYTES_MAX
    assert convert.check_text("text", "é" * (limit // 2)) == "é" * (limit // 2)
    with pytest.raises(InvalidPrompt) as caught:
        convert.check_text("text", "é" * (limit // 2) + "a")
    assert (caught.value.length, caught.value.limit, caught.value.unit) == (
        limit + 1,
        limit,
        "bytes",
    )
    with pytest.raises(InvalidPrompt):
        convert.check_text("text", "")
    assert convert.check_text("text", "", empty_allowed=True) == ""


def _basin(values: Any) -> constellation_pb2.Routing:
    return constellation_pb2.Routing(basin=common_pb2.Point(values=values))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([], "0 values"),
        ([1.0], "1 values"),
        (
            [1 / (convert.OUTCOMES_MAX + 1)] * (convert.OUTCOMES_MAX + 1),
            f"{convert.OUTCOMES_MAX + 1} values",
        ),
        ([math.nan] + [1 / 63] * 63, "nan"),
        ([math.inf] + [0] * 63, "inf"),
        ([-0.5, 1.5] + [0] * 62, "-0.5"),
        ([1 / 32] * 64, "2.0"),
        ([0] * 64, "0.0"),
    ],
)
def test_a_basin_off_the_simplex_is_refused_and_the_error_shows_why(
    values: list[float], problem: str
) -> None:
    with pytest.raises(InvalidBasin, match=problem):
        convert.routing_from_message(_basin(values))
