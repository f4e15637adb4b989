"""Answers kept as blocks: what comes out is what went in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.router.idempotency import pack, unpack
from constellation.records import Choice, Mode, Route, Rule, TokenInfluence

numbers = st.floats(allow_nan=False)
choices = st.builds(
    Choice,
    kernel=st.text(max_size=9),
    seat=st.none() | st.integers(0, 239),
    distance=numbers,
    weight=numbers,
    radius=numbers,
)
influences = st.builds(
    TokenInfluence, text=st.text(max_size=9), position=st.integers(0, 2**31), shift=numbers
)
routes = st.builds(
    Route,
    choices=st.lists(choices, max_size=4).map(tuple),
    kernel=st.text(max_size=9),
    reason=st.sampled_from(["nearest", "pinned", "failover", "spill"]),
    rule=st.sampled_from(Rule),
    mode=st.sampled_from(Mode),
    margin=numbers,
    out_of_domain=st.booleans(),
    no_evidence=st.booleans(),
    num_tokens=st.integers(0, 2**31),
    table_version=st.integers(0, 2**53),
    influences=st.lists(influences, max_size=3).map(tuple),
)


@pytest.mark.slow
@given(st.none() | routes, st.lists(st.binary(max_size=300), max_size=5))
def test_what_is_unpacked_is_what_was_packed(route: Route | None, replies: list[bytes]) -> None:
    pairs = tuple((route if place == 0 else None, reply) for place, reply in enumerate(replies))
    again = unpack(pack(pairs))
    assert again == pairs
    if again and again[0][0] is not None:
        assert (type(again[0][0].rule), type(again[0][0].mode)) == (Rule, Mode)


def test_numbers_of_a_route_may_come_from_numpy() -> None:
    choice = Choice(kernel="a", seat=1, distance=np.float64(0.1), weight=1.0, radius=2.0)
    route = Route(
        choices=(choice,),
        kernel="a",
        reason="nearest",
        rule=Rule.BEARING,
        mode=Mode.NEAREST,
        margin=np.float64(0.3),
        out_of_domain=False,
        no_evidence=False,
        num_tokens=3,
        table_version=7,
    )
    assert unpack(pack([(route, b"said")])) == ((route, b"said"),)
