"""The rules by which numbers become words."""

import math

import pytest

from training.report.verdicts import count_of, share_interval, side, span


@pytest.mark.parametrize(
    ("interval", "where"),
    [
        ((0.1, 0.2), "above"),
        ((-0.2, -0.1), "below"),
        ((-0.1, 0.2), "holds"),
        ((0.0, 0.2), "holds"),
        ((-0.2, 0.0), "holds"),
        ((0.0, 0.0), "holds"),
        (None, "unknown"),
        ((math.nan, 0.2), "unknown"),
        ((0.1, math.inf), "unknown"),
    ],
)
def test_an_interval_shows_a_difference_only_when_it_lies_on_one_side(
    interval: tuple[float, float] | None, where: str
) -> None:
    assert side(interval) == where
    shifted = None if interval is None else (interval[0] + 10, interval[1] + 10)
    assert side(shifted, 10.0) == where


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_the_interval_of_a_share_is_wilsons(count: int, n: int, low: float, high: float) -> None:
    """The last is the example of Newcombe (1998), the others are tabulated."""
    assert share_interval(count, n) == pytest.approx((low, high), abs=5e-5)


def test_counts_read_well() -> None:
    assert count_of(0, 8, "kernels") == "none of the 8 kernels"
    assert count_of(3, 8, "kernels") == "3 of 8 kernels"
    assert count_of(8, 8, "kernels") == "all 8 kernels"
    assert count_of(1, 1, "kernels") == "the one kernel"
    assert count_of(0, 1, "kernels") == "0 of 1 kernels"


def test_a_span_says_when_there_is_none() -> None:
    assert span((0.1234, 0.5), 2) == "0.12 to 0.50"
    assert span((-0.1, 0.5), 1, signed=True) == "-0.1 to +0.5"
    assert span(None) == "no interval"
