"""The figures of the benchmarks of watching, computed from values that are known."""

import math

import numpy as np
import pytest

from benchmarks.counting_cost import Stopwatch
from benchmarks.page_left_open import growth
from benchmarks.watching_cost import Period, mean_ratio, report


def test_a_ratio_of_pairs_and_its_interval_are_those_of_students_t() -> None:
    ratio, (low, high) = mean_ratio([0.98, 1.0])
    assert ratio == pytest.approx(math.sqrt(0.98))
    half = 12.7062 * abs(math.log(0.98)) / 2  # t at 97.5 % with one degree of freedom
    assert math.log(high / ratio) == pytest.approx(half, rel=1e-4)
    assert math.log(ratio / low) == pytest.approx(half, rel=1e-4)


def test_what_watching_costs_is_the_share_of_calls_that_are_missing() -> None:
    def pair(calls_per_s: float) -> dict[bool, Period]:
        before = Period(calls_per_s=calls_per_s, processor_s=1e-3, router_s=5e-4)
        return {
            False: before,
            True: Period(calls_per_s=0.97 * calls_per_s, processor_s=1.05e-3, router_s=6e-4),
        }

    found = report([pair(100.0), pair(300.0), pair(500.0)], {})
    assert (found["calls_per_s_unwatched"], found["calls_per_s_watched"]) == (300.0, 291.0)
    assert found["cost_ratio"] == 0.03
    assert found["interval"] == [0.03, 0.03], "the pairs agree, however fast each of them is"
    assert found["processor_cost_ratio"] == 0.05
    assert found["router_us"] == {"unwatched": 500, "watched": 600}


def test_a_figure_grows_when_its_line_rises_beyond_the_scatter() -> None:
    minutes = np.arange(0.0, 61.0, 5.0)
    scatter = 1e5 * np.sin(7 * minutes)
    same = growth(minutes, np.full(13, 1e7))
    assert (same["per_hour"], same["interval"], same["grown"]) == (0.0, [0.0, 0.0], False)
    assert not growth(minutes, 1e7 + scatter)["grown"]
    leak = growth(minutes, 1e7 + 4e6 * minutes / 60 + scatter)
    assert leak["grown"]
    assert leak["interval"][0] < 4e6 < leak["interval"][1]


def test_what_fills_up_in_the_first_minutes_is_no_growth() -> None:
    minutes = np.arange(0.0, 61.0, 5.0)
    values = np.where(minutes < 6, 1e6, 2e6)
    assert not growth(minutes, values)["grown"]


def test_time_in_a_function_that_another_one_calls_counts_once() -> None:
    watch = Stopwatch()
    inner = watch.timed("inner", lambda: sum(range(100_000)))
    outer = watch.timed("outer", inner)
    outer()
    assert set(watch.seconds) == {"outer"}
    inner()
    assert set(watch.seconds) == {"outer", "inner"}
