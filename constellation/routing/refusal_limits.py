"""Distances beyond which one query is outside each kernel's domain, by thresholds or radii."""

from collections.abc import Sequence
from dataclasses import dataclass

from constellation.errors import InvalidRequest
from constellation.records import SHARE_DEFAULT, Refusal, Rule
from constellation.routing.nearest_kernels import Nearness
from constellation.routing.refusal_rule import CaughtTable, LimitTable, QueryLimits


@dataclass(slots=True)  # not frozen: one is made for every query, in a third of the time
class KernelLimits:
    """Distances beyond which one query is out of domain, and their measured shares.

    For a table without thresholds the limits are the radii of the kernels, without shares.
    """

    radii: Sequence[float]
    """Distances in radians beyond which the query is out of each kernel's domain; one value if it
    holds for all kernels."""
    rule: Rule = Rule.BEARING
    num_tokens: int = 0
    caught: CaughtTable | None = None
    common: QueryLimits | None = None
    """Limits by the table's thresholds, which hold for every kernel."""

    def radius(self, place: int) -> float:
        """Return the radius of the kernel with index `place` in the table."""
        return self.radii[0] if len(self.radii) == 1 else self.radii[place]

    def radii_of(self, places: Sequence[int]) -> Sequence[float]:
        """Return the radii of several kernels."""
        if len(self.radii) == 1:
            return [self.radii[0]] * len(places)
        return [self.radii[place] for place in places]

    def all_beyond(self, near: Nearness) -> bool:
        """Return whether a query lies beyond the radius of every kernel."""
        if len(self.radii) == 1:  # with one radius the nearest kernel decides
            return near.distances[0] > self.radii[0]
        return all(
            distance > self.radii[place]
            for place, distance in zip(near.places, near.distances, strict=True)
        )

    def beyond(self, distance: float) -> tuple[float | None, float | None]:
        """Return the shares of own and of foreign held-out texts that lie at least as far out.

        Args:
            distance: Radians to the nearest kernel.
        """
        if self.common is None or self.caught is None:
            return None, None
        own = self.common.beyond(distance)
        return own, self.caught.beyond(self.rule, num_tokens=self.num_tokens, share=own)


class TableLimits:
    """The thresholds of a table, indexed for one query after another."""

    def __init__(self, refusal: Refusal) -> None:
        """Prepare the thresholds of a table."""
        self._caught = CaughtTable(refusal)
        self._common = LimitTable(refusal.thresholds)

    def of_query(
        self, rule: Rule, *, num_tokens: int, evidence: float, share: float | None
    ) -> KernelLimits:
        """Return the limits of one query.

        Args:
            rule: Rule by which distances are measured.
            num_tokens: Number of tokens of the query, >= 0.
            evidence: Radians between the query's basin and the background.
            share: Share of in-domain queries that may be refused; None means the default.

        Raises:
            InvalidRequest: `share` is out of the range of the thresholds.
        """
        shares = self._common.shares
        if share is not None and not shares[0] <= share <= shares[-1]:
            raise InvalidRequest("refuse", share, f"{shares[0]:g} to {shares[-1]:g}")
        asked = SHARE_DEFAULT if share is None else share
        common = self._common.of_query(rule, num_tokens=num_tokens, evidence=evidence)
        radii = [common.limit(asked)]
        return KernelLimits(
            radii=radii,
            rule=rule,
            num_tokens=num_tokens,
            caught=self._caught,
            common=common,
        )
