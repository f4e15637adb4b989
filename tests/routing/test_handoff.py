"""When an answer is handed over: distances in, decisions compared with their definition."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ConfigError
from constellation.routing.handoff import EVERY, HandoffRule, HandoffWatch

RULE = HandoffRule(margin=0.15, tokens=16)
WALKS = st.lists(
    st.fixed_dictionaries({name: st.floats(0, 3.0) for name in "abc"}), min_size=1, max_size=40
)
"""Distances of three kernels at successive looks."""


def writers(walk: list[dict[str, float]], rule: HandoffRule) -> list[str]:
    """Return who writes after each look, when "a" begins."""
    watch, writer, said = HandoffWatch(rule), "a", []
    for look, distances in enumerate(walk, 1):
        nearest = min(distances, key=lambda name: distances[name])
        lead = distances[writer] - distances[nearest]
        target = watch.check(EVERY * look, nearest, lead)
        writer = target or writer
        said.append(writer)
    return said


@given(WALKS, st.sampled_from([0.05, 0.15, 1.0]), st.sampled_from([1, 8, 16, 20]))
def test_an_answer_moves_only_when_one_other_led_by_the_margin_all_the_time(
    walk: list[dict[str, float]], margin: float, tokens: int
) -> None:
    said = ["a", *writers(walk, HandoffRule(margin=margin, tokens=tokens))]
    num_looks = math.ceil(tokens / EVERY)
    for look, (before, after) in enumerate(itertools.pairwise(said)):
        if before == after:
            continue
        assert look >= num_looks
        for distances in walk[look - num_looks : look + 1]:
            assert min(distances, key=lambda name: distances[name]) == after
            assert distances[before] - distances[after] > margin


@given(WALKS)
def test_two_handoffs_are_as_far_apart_as_one_takes(walk: list[dict[str, float]]) -> None:
    said = writers(walk, RULE)
    moves = [look for look in range(1, len(said)) if said[look] != said[look - 1]]
    assert all(later - earlier > 2 for earlier, later in itertools.pairwise(moves))


@given(st.lists(st.floats(-0.15, 0.15), min_size=1, max_size=60))
def test_an_answer_between_two_kernels_stays_where_it_is(balance: list[float]) -> None:
    """However it wavers: within the margin on both sides there is no way there, and none back."""
    walk = [{"a": 1.0 + each / 2, "b": 1.0 - each / 2} for each in balance]
    assert set(writers(walk, RULE)) == {"a"}


def test_an_answer_that_has_moved_for_good_is_handed_over_once_after_16_tokens() -> None:
    walk = [{"a": 0.2, "b": 0.9}] * 3 + [{"a": 0.9, "b": 0.2}] * 10
    assert "".join(writers(walk, RULE)) == "a" * 5 + "b" * 8


def test_one_look_in_between_begins_the_count_anew() -> None:
    away, home = {"a": 0.9, "b": 0.2}, {"a": 0.3, "b": 0.2}
    assert "".join(writers([away, away, home] * 5, RULE)) == "a" * 15
    other = {"a": 0.9, "b": 0.3, "c": 0.2}  # first "b", then "c" is nearest: neither for long
    assert "".join(writers([away | {"c": 0.9}, other] * 6, RULE)) == "a" * 12


def test_looks_are_eight_tokens_apart_however_many_come_at_once() -> None:
    watch = HandoffWatch(RULE)
    due = []
    for num_written in (3, 7, 8, 12, 16, 23, 40, 41, 47, 48):
        due.append(watch.is_due(num_written))
        if due[-1]:
            watch.check(num_written, "a", 0.0)
    assert due == [False, False, True, False, True, False, True, False, False, True]


@pytest.mark.parametrize(
    "wrong", [{"margin": 0.0}, {"margin": math.nan}, {"margin": 4.0}, {"tokens": 0}]
)
def test_rules_that_would_flap_or_never_act_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="margin"):
        HandoffRule(**wrong)  # type: ignore[arg-type]
