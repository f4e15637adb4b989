"""The distances beyond which one query is out of each kernel's domain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from constellation.errors import InvalidRequest
from constellation.records import SHARE_DEFAULT, Refusal, Rule, Table
from constellation.routing.nearness import Nearness
from constellation.routing.refusal import CaughtTable, LimitTable, QueryLimits


@dataclass(slots=True)  # not frozen: one is made for every query, in a third of the time
class KernelLimits:
    """What holds for one query; without thresholds the radii of the kernels, and no shares."""

    radii: Sequence[float]
    """Radians beyond which the query is out of each kernel's domain; one when it is that of all."""
    rule: Rule = Rule.BEARING
    num_tokens: int = 0
    caught: CaughtTable | None = None
    common: QueryLimits | None = None
    """What holds for kernels without thresholds of their own."""
    own: Mapping[int, QueryLimits] = field(default_factory=dict)
    """Place of a kernel -> what holds for it by thresholds of its own."""

    def radius(self, place: int) -> float:
        """Return the radius of the kernel at a place of the table."""
        return self.radii[0] if len(self.radii) == 1 else self.radii[place]

    def radii_of(self, places: Sequence[int]) -> Sequence[float]:
        """Return the radii of several kernels."""
        if len(self.radii) == 1:
            return [self.radii[0]] * len(places)
        return [self.radii[place] for place in places]

    def all_beyond(self, near: Nearness) -> bool:
        """Return whether a query lies beyond the radius of every kernel."""
        if len(self.radii) == 1:  # the nearest decides
            return near.distances[0] > self.radii[0]
        return all(
            distance > self.radii[place]
            for place, distance in zip(near.places, near.distances, strict=True)
        )

    def beyond(self, nearest: int, distance: float) -> tuple[float | None, float | None]:
        """Return the shares of own and of foreign held-out texts that lie as far out.

        Args:
            nearest: Place of the nearest kernel.
            distance: Radians to it.
        """
        if self.common is None or self.caught is None:
            return None, None
        own = self.own.get(nearest, self.common).beyond(distance)
        return own, self.caught.beyond(self.rule, num_tokens=self.num_tokens, share=own)


class TableLimits:
    """The thresholds of a table, and those of kernels that brought their own."""

    def __init__(self, table: Table, refusal: Refusal) -> None:
        """Prepare the thresholds of `table`, whose `refusal` is given."""
        self._caught = CaughtTable(refusal)
        self._common = LimitTable(refusal.thresholds)
        self._num_kernels = len(table.sites)
        self._own = {
            place: LimitTable(site.thresholds)
            for place, site in enumerate(table.sites)
            if site.thresholds is not None
        }

    @property
    def is_common(self) -> bool:
        """Whether one radius holds for all kernels."""
        return not self._own

    def of_query(
        self, rule: Rule, *, num_tokens: int, evidence: float, share: float | None
    ) -> KernelLimits:
        """Return what holds for one query.

        Args:
            rule: How distances are measured.
            num_tokens: Tokens that the query was folded from, >= 0.
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
        own = {
            place: limits.of_query(rule, num_tokens=num_tokens, evidence=evidence)
            for place, limits in self._own.items()
        }
        radii = [common.limit(asked)]
        if own:
            radii *= self._num_kernels
            for place, limits in own.items():
                radii[place] = limits.limit(asked)
        return KernelLimits(
            radii=radii,
            rule=rule,
            num_tokens=num_tokens,
            caught=self._caught,
            common=common,
            own=own,
        )
