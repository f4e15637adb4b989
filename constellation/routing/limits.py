"""The distances beyond which one query is out of each kernel's domain.

Shapes: M kernels of the table.
"""

from dataclasses import dataclass

import numpy as np

from constellation.errors import InvalidRequest
from constellation.records import SHARE_DEFAULT, FloatArray, Refusal, Rule, Table
from constellation.routing.refusal import CaughtTable, LimitTable, QueryLimits


@dataclass(frozen=True, slots=True)
class KernelLimits:
    """What holds for one query; without thresholds the radii of the kernels, and no shares."""

    radius_M: FloatArray
    """Radians beyond which the query is out of each kernel's domain."""
    rule: Rule = Rule.BEARING
    num_tokens: int = 0
    caught: CaughtTable | None = None
    common: QueryLimits | None = None
    """What holds for every kernel by the thresholds of the table."""

    def all_beyond(self, distance_M: FloatArray, nearest: int) -> bool:
        """Return whether a query lies beyond the radius of every kernel.

        Args:
            distance_M: Radians to every kernel.
            nearest: Place of the nearest kernel.
        """
        if self.common is not None:  # one radius: the nearest decides
            return bool(distance_M[nearest] > self.radius_M[nearest])
        return bool((distance_M > self.radius_M).all())

    def beyond(self, distance: float) -> tuple[float | None, float | None]:
        """Return the shares of own and of foreign held-out texts that lie as far out.

        Args:
            distance: Radians to the nearest kernel.
        """
        if self.common is None or self.caught is None:
            return None, None
        own = self.common.beyond(distance)
        return own, self.caught.beyond(self.rule, num_tokens=self.num_tokens, share=own)


class TableLimits:
    """The thresholds of a table, ready for one query after another."""

    def __init__(self, table: Table, refusal: Refusal) -> None:
        """Prepare the thresholds of `table`, whose `refusal` is given."""
        self._caught = CaughtTable(refusal)
        self._common = LimitTable(refusal.thresholds)
        self._num_kernels = len(table.sites)

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
        radius_M = np.full(self._num_kernels, common.limit(asked))
        return KernelLimits(
            radius_M=radius_M,
            rule=rule,
            num_tokens=num_tokens,
            caught=self._caught,
            common=common,
        )
