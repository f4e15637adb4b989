"""Interpolate a table's thresholds of refusal for one query's length, evidence and share.

A query beyond its threshold is refused as out of domain. Pure arithmetic on plain floats; routers
and clients that route themselves use the same code.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, log, sqrt

from constellation.records import Refusal, Rule, Thresholds

LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Lengths of queries in tokens for which thresholds are fitted."""

SHARES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Shares of refused in-domain queries for which thresholds are fitted."""

EVIDENCE_WEIGHT = 0.5
"""Radians by which a query may be further from its kernel, per radian of distance from the
background. Chosen on development text (docs/log.md): 0 misses uninformative foreign text, 1 misses
informative foreign text."""

_INTERVAL_Z = 1.96


@dataclass(slots=True)  # not frozen: one is made for every query, in a third of the time
class QueryLimits:
    """Thresholds of one query under one rule, for every share."""

    shares: Sequence[float]
    excess: Sequence[float]
    """Excess in radians beyond which the query is refused, for each share; descending."""
    allowed: float = 0.0
    """Radians added to the excess to get a distance: `EVIDENCE_WEIGHT` times the query's
    evidence."""

    def limit(self, share: float) -> float:
        """Return the distance in radians beyond which `share` of in-domain queries are refused."""
        return _interpolate(self.shares, self.excess, share) + self.allowed

    def beyond(self, distance: float) -> float:
        """Return the share of in-domain queries of this length that lie at least as far out.

        Clipped to [shares[0], shares[-1]]: the ends mean "at most" and "at least".
        """
        own, row, shares = distance - self.allowed, self.excess, self.shares
        if own >= row[0]:
            return shares[0]
        place = 1
        while row[place] > own:
            place += 1
            if place == len(row):
                return shares[-1]
        part = (row[place - 1] - own) / (row[place - 1] - row[place])
        return float(shares[place - 1] * (shares[place] / shares[place - 1]) ** part)


class LimitTable:
    """Thresholds under every rule, as lists for plain arithmetic."""

    def __init__(self, thresholds: Thresholds) -> None:
        """Convert the arrays to lists, on which plain arithmetic is several times faster."""
        self.shares = thresholds.shares
        self._rows = {
            rule: LengthRows(thresholds.lengths, excess.tolist())
            for rule, excess in thresholds.excess.items()
        }

    def of_query(self, rule: Rule, *, num_tokens: int, evidence: float) -> QueryLimits:
        """Return the thresholds of one query.

        Args:
            rule: Rule by which distances are measured.
            num_tokens: Number of tokens of the query; 0 counts as 1.
            evidence: Radians between the query's basin and the background.
        """
        row = self._rows[rule].at(num_tokens)
        return QueryLimits(self.shares, row, EVIDENCE_WEIGHT * evidence)


class LengthRows:
    """Rows of values by length of query, interpolated for each length once and cached."""

    def __init__(self, lengths: Sequence[int], rows: Sequence[Sequence[float]]) -> None:
        """Store a row of values for each length."""
        self._lengths = lengths
        self._rows = rows
        self._found: dict[
            int, Sequence[float]
        ] = {}  # at most one row for each length up to the last

    def at(self, num_tokens: int) -> Sequence[float]:
        """Return the row for a length in tokens."""
        wanted = min(max(num_tokens, 1), self._lengths[-1])
        row = self._found.get(wanted)
        if row is None:
            row = self._found[wanted] = at_length(self._lengths, self._rows, wanted)
        return row


def at_length(
    lengths: Sequence[int], rows: Sequence[Sequence[float]], num_tokens: int
) -> Sequence[float]:
    """Interpolate the row for one length, linearly in the logarithm of the length."""
    place = bisect_left(lengths, num_tokens)
    if place == 0 or place == len(lengths):
        return rows[min(place, len(lengths) - 1)]
    part = log(num_tokens / lengths[place - 1]) / log(lengths[place] / lengths[place - 1])
    return [
        low + part * (high - low) for low, high in zip(rows[place - 1], rows[place], strict=True)
    ]


class CaughtTable:
    """Shares of foreign text that a table's thresholds refuse, under every rule."""

    def __init__(self, refusal: Refusal) -> None:
        """Convert the arrays to lists."""
        self._shares = refusal.thresholds.shares
        self._rows = {
            rule: LengthRows(refusal.thresholds.lengths, caught.tolist())
            for rule, caught in refusal.caught.items()
        }

    def beyond(self, rule: Rule, *, num_tokens: int, share: float) -> float | None:
        """Return the share of foreign texts refused where `share` of own texts are refused."""
        found = _interpolate(self._shares, self._rows[rule].at(num_tokens), share)
        return None if isnan(found) else found


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `count` independent items; (0, 1) for no items."""
    if count < 1:
        return 0.0, 1.0
    z2 = _INTERVAL_Z**2 / count
    centre, half = (
        share + z2 / 2,
        _INTERVAL_Z * sqrt(share * (1 - share) / count + z2 / (4 * count)),
    )
    return max(0.0, (centre - half) / (1 + z2)), min(1.0, (centre + half) / (1 + z2))


def _interpolate(shares: Sequence[float], values: Sequence[float], share: float) -> float:
    place = bisect_left(shares, share)
    if place == 0 or place == len(shares):
        return values[min(place, len(shares) - 1)]
    if shares[place] == share:  # a fitted share returns the fitted value unchanged
        return values[place]
    part = log(share / shares[place - 1]) / log(shares[place] / shares[place - 1])
    return values[place - 1] + part * (values[place] - values[place - 1])
