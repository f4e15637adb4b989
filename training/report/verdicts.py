"""Turn numbers and intervals into verdicts in words, by fixed rules. Pure.

An interval wholly on one side of a reference shows a difference; an interval that contains the
reference shows none; without an interval no verdict is given.

Source: Wilson (1927) for the interval of a share.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Side = Literal["above", "below", "holds", "unknown"]
"""Where an interval lies: above a reference, below it, around it; or there is no interval."""

Interval = tuple[float, float]

_Z95 = 1.959963984540054


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One result: a number, its interval, the null it is compared with, and the verdict."""

    name: str
    """What was measured, in a few words."""
    value: float | None
    """The number; None where it is undefined."""
    unit: str = "kernels"
    interval: Interval | None = None
    """95 % interval; None where there are too few units for one."""
    null: float | None = None
    """Value that the number is compared with."""
    null_name: str = ""
    """Name of the null, in words; empty without a null."""
    n: int | None
    """Independent units behind the number."""
    n_unit: str = "kernels"
    """Name of the units, in the plural."""
    verdict: str
    """What the numbers show, in a few words."""
    sentence: str
    """What the numbers show, as a full sentence with its numbers."""


def side(interval: Sequence[float] | None, reference: float = 0.0) -> Side:
    """Return where an interval lies; an interval whose end touches the reference is around it."""
    if interval is None or not all(map(math.isfinite, interval)):
        return "unknown"
    low, high = interval
    if low > reference:
        return "above"
    return "below" if high < reference else "holds"


def verdict_of(
    interval: Sequence[float] | None,
    *,
    above: str,
    below: str,
    holds: str = "no difference shown",
    reference: float = 0.0,
) -> str:
    """Return the words for the side of `reference` on which an interval lies."""
    words = {"above": above, "below": below, "holds": holds, "unknown": "not judged"}
    return words[side(interval, reference)]


def pair(interval: Sequence[float] | None) -> Interval | None:
    """Return an interval read from JSON as a pair; None stays None."""
    return None if interval is None else (float(interval[0]), float(interval[1]))


def share_interval(count: int, n: int) -> Interval:
    """Return Wilson's 95 % interval of a share of `count` in `n`, n from 1."""
    share, square = count / n, _Z95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z95 * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def span(interval: Sequence[float] | None, digits: int = 3, *, signed: bool = False) -> str:
    """Return "0.012 to 0.034", or "no interval"."""
    if interval is None:
        return "no interval"
    form = f"{'+' if signed else ''}.{digits}f"
    low, high = (format(end, form) for end in interval)
    return f"{low} to {high}"


def count_of(count: int, total: int, noun: str) -> str:
    """Return "none of the 8 kernels", "3 of 8 kernels", "all 8 kernels", "the one kernel"."""
    if count == total:
        return f"all {total} {noun}" if total != 1 else f"the one {noun.removesuffix('s')}"
    return f"none of the {total} {noun}" if count == 0 < total - 1 else f"{count} of {total} {noun}"
