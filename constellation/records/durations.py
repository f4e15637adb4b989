"""Counts of durations in bins of a logarithmic scale, from which quantiles are read.

A bin is 4.4 % wide, so that a quantile is known to 2.2 %. Counts of several processes add up, which
quantiles do not.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, floor, log2

_PER_DOUBLING = 16
_BIN_MIN = -14 * _PER_DOUBLING
_BIN_MAX = 13 * _PER_DOUBLING - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantiles:
    """Durations that half, 95 % and 99 % of the observations do not exceed; low is good."""

    p50: float
    """Seconds, > 0, as are the other two."""
    p95: float
    p99: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Durations:
    """How many durations lie in each bin."""

    counts: Mapping[int, int] = field(default_factory=dict)
    """Number of a bin, from -224 (up to 64 us) to 207 (over 2 hours) -> durations in the bin."""

    def plus(self, other: "Durations") -> "Durations":
        """Return the counts of both."""
        return Durations(counts=Counter(self.counts) + Counter(other.counts))

    def quantiles(self) -> Quantiles | None:
        """Return the quantiles; None when there was no duration."""
        if not sum(self.counts.values()):
            return None
        return Quantiles(p50=self._at(0.5), p95=self._at(0.95), p99=self._at(0.99))

    def _at(self, share: float) -> float:
        """Return the middle of the first bin at which a share of all durations is reached."""
        wanted, so_far, number = ceil(share * sum(self.counts.values())), 0, _BIN_MIN
        for number in sorted(self.counts):
            so_far += self.counts[number]
            if so_far >= wanted:
                break
        return float(2 ** ((number + 0.5) / _PER_DOUBLING))


def bin_of(seconds: float) -> int:
    """Return the number of the bin of a duration, in seconds, >= 0."""
    if seconds < 2.0**-14:
        return _BIN_MIN
    return min(floor(_PER_DOUBLING * log2(seconds)), _BIN_MAX)
