"""The shared records refuse what is out of range and keep what they were given."""

import dataclasses
import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import InvalidRequest
from constellation.records import Choice, Mode, Route, RoutingOptions, Rule, Sampling

OUT_OF_RANGE: list[tuple[str, Any]] = [
    ("tokens_max", 0),
    ("tokens_max", 4097),
    ("temperature", -0.1),
    ("temperature", 2.1),
    ("temperature", math.nan),
    ("temperature", math.inf),
    ("top_k", 0),
    ("top_k", 65_537),
    ("top_p", 0.0),
    ("top_p", 1.01),
    ("top_p", math.nan),
    ("min_p", -0.1),
    ("min_p", 1.0),
    ("min_p", math.nan),
    ("repetition_penalty", 0.49),
    ("repetition_penalty", 2.01),
    ("repetition_penalty", math.nan),
    ("seed", -1),
    ("seed", 2**63),
    ("tokens_min", -1),
    ("tokens_min", 129),
    ("presence_penalty", -2.01),
    ("presence_penalty", math.nan),
    ("frequency_penalty", 2.01),
    ("frequency_penalty", math.inf),
    ("logit_bias", {-1: 0.0}),
    ("logit_bias", {True: 0.0}),
    ("logit_bias", {1: 100.5}),
    ("logit_bias", {1: math.nan}),
    ("logit_bias", dict.fromkeys(range(301), 1.0)),
    ("logit_bias", [1, 2]),
    ("stop", "abc"),
    ("stop", (1,)),
    ("stop", ("",)),
    ("stop", ("a" * 257,)),
    ("stop", ("a",) * 9),
    ("logprobs", -1),
    ("logprobs", 21),
    ("logprobs", 1.0),
]


@pytest.mark.parametrize(("field", "value"), OUT_OF_RANGE)
def test_sampling_names_the_field_that_is_out_of_range(field: str, value: float) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Sampling(**{field: value})
    assert caught.value.field == field
    assert caught.value.value[:70] == repr(value)[:70]


@given(
    tokens_max=st.integers(1, 4096),
    temperature=st.floats(0, 2),
    top_k=st.none() | st.integers(1, 65_536),
    top_p=st.floats(1e-6, 1),
    min_p=st.floats(0, 1 - 1e-6),
    repetition_penalty=st.floats(0.5, 2),
    seed=st.none() | st.integers(0, 2**63 - 1),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    logit_bias=st.dictionaries(st.integers(0, 2**31 - 1), st.floats(-100, 100), max_size=300),
    stop=st.lists(st.text(min_size=1, max_size=256), max_size=8).map(tuple),
    logprobs=st.none() | st.integers(0, 20),
)
def test_sampling_accepts_everything_in_range(**options: Any) -> None:
    sampling = Sampling(**options)
    assert {name: getattr(sampling, name) for name in options} == options


def test_every_range_that_is_tested_is_a_field() -> None:
    fields = {field.name for field in dataclasses.fields(Sampling)}
    assert {name for name, _ in OUT_OF_RANGE} == fields


def test_records_are_frozen_and_keyword_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sampling().seed = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        Sampling(3)  # type: ignore[misc]
    with pytest.raises(TypeError):
        RoutingOptions(colour="red")  # type: ignore[call-arg]


def _route(distances: list[float]) -> Route:
    choices = tuple(
        Choice(kernel=f"k{index}", seat=None, distance=distance, weight=0, radius=1)
        for index, distance in enumerate(distances)
    )
    return Route(
        choices=choices,
        kernel="k0",
        reason="nearest",
        rule=Rule.BEARING,
        mode=Mode.NEAREST,
        margin=0,
        out_of_domain=False,
        no_evidence=False,
        num_tokens=3,
        table_version=1,
    )


def test_a_route_lists_names_and_distances_in_the_order_of_its_choices() -> None:
    route = _route([0.5, 0.75, 1.0])
    assert route.kernels == ("k0", "k1", "k2")
    assert route.distances == (0.5, 0.75, 1.0)


def test_records_survive_pickling() -> None:
    for record in (_route([0.5, 1.0]), Sampling(seed=5), RoutingOptions(rule=Rule.GEODESIC)):
        assert pickle.loads(pickle.dumps(record)) == record
