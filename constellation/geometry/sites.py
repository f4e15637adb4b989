"""Index kernels' basins or bearings (sites), for fast distances of one query or of many.

Distances and angles equal those of `distance` and `angle`; everything that does not depend on the
query is computed once. A site is a point or a set of points; the distance to a set is the distance
to its nearest point. numpy only, float64 only. Letters: K outcomes, M sites, B points of a site, N
queries, R rows that are near the query.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import asin, sqrt

import numpy as np

from constellation.errors import InvalidBasin
from constellation.geometry.bearings import BEARING_MIN
from constellation.geometry.unit_sets import Nearest, UnitSets
from constellation.records import FloatArray

_SQUARE_MIN = (BEARING_MIN / 2) ** 2
"""Square of the chord below which a query has no bearing; |log| is twice the chord this near."""


@dataclass(frozen=True, slots=True, eq=False)
class SiteIndex:
    """Points of the simplex, or sets of points, indexed for distances to queries."""

    roots: UnitSets
    """Square roots of the sites."""

    @classmethod
    def of(cls, sites_MK: FloatArray) -> "SiteIndex":
        """Index simplex points of shape (M, K), M >= 1, that are checked already."""
        _require_table(sites_MK)
        return cls.of_sets(list(sites_MK[:, None]))

    @classmethod
    def of_sets(cls, sites: Sequence[FloatArray]) -> "SiteIndex":
        """Index sets of simplex points, each of shape (B, K), B >= 1."""
        return cls(UnitSets.of([np.sqrt(points_BK) for points_BK in sites]))

    def distances(self, query_K: FloatArray) -> FloatArray:
        """Return the Fisher-Rao distance of one query to every site.

        Args:
            query_K: Simplex point, float64, shape (K,).

        Returns:
            Radians, shape (M,), in [0, pi], within 1e-13 of `distance`; exactly 0 for a site that
            contains the query.
        """
        return 2 * self.roots.angles(np.sqrt(query_K))

    def nearest(self, query_K: FloatArray, count: int) -> Nearest:
        """Return the `count` sites nearest to one query, with the bits of `distances`."""
        found = self.roots.nearest(np.sqrt(query_K), count)
        found.radians = [2 * radians for radians in found.radians]
        return found

    def distances_of(self, query_NK: FloatArray) -> FloatArray:
        """Return the distances of many queries to every site, shape (N, M), as `distances` does."""
        return 2 * self.roots.angles_of(np.sqrt(query_NK))


@dataclass(frozen=True, slots=True, eq=False)
class BearingIndex:
    """Unit bearings at one background, or sets of bearings, indexed for angles to queries."""

    bearings: UnitSets
    """Unit bearings of the sites."""

    background_root_K: FloatArray
    """Square root of the background from which all bearings are measured, shape (K,)."""

    @classmethod
    def of(cls, bearing_MK: FloatArray, background_K: FloatArray) -> "BearingIndex":
        """Index unit bearings of shape (M, K), M >= 1, measured at `background_K`."""
        _require_table(bearing_MK)
        return cls.of_sets(list(bearing_MK[:, None]), background_K)

    @classmethod
    def of_sets(cls, sites: Sequence[FloatArray], background_K: FloatArray) -> "BearingIndex":
        """Index sets of unit bearings, each of shape (B, K), B >= 1."""
        return cls(UnitSets.of(sites), np.sqrt(background_K))

    def bearing(self, query_K: FloatArray) -> FloatArray | None:
        """Return the unit bearing of one query, or None at the background; see `look`."""
        return self.look(query_K)[0]

    def look(self, query_K: FloatArray) -> tuple[FloatArray | None, float]:
        """Return the bearing of one query and its distance from the background.

        Args:
            query_K: Simplex point, float64, shape (K,).

        Returns:
            The unit bearing, shape (K,), as `bearings.bearing`, but None for a query nearer than
            1e-6 rad to the background; and |log_pi(q)|, radians in [0, pi].
        """
        difference_K, square, far = self._offset(query_K)
        if square < _SQUARE_MIN:
            return None, far
        direction_K: FloatArray = difference_K + square / 2 * self.background_root_K
        return direction_K / sqrt(float(direction_K @ direction_K)), far

    def evidence(self, query_K: FloatArray) -> tuple[bool, float]:
        """Return whether one query has a bearing, and how far it lies: `look` without the bearing.

        Args:
            query_K: Simplex point, float64, shape (K,).
        """
        _, square, far = self._offset(query_K)
        return square >= _SQUARE_MIN, far

    def _offset(self, query_K: FloatArray) -> tuple[FloatArray, float, float]:
        """Return the chord from the background to a query, its square, and |log_pi(q)|."""
        difference_K = np.sqrt(query_K) - self.background_root_K
        square = float(difference_K @ difference_K)
        return difference_K, square, 4 * asin(min(1.0, sqrt(square) / 2))

    def angles(self, bearing_K: FloatArray) -> FloatArray:
        """Return the angle of one unit bearing to every site's bearing.

        Args:
            bearing_K: Unit bearing at the same background, float64, shape (K,).

        Returns:
            Radians, shape (M,), in [0, pi], within 1e-13 of `angle`, near both ends too.
        """
        return self.bearings.angles(bearing_K)

    def angles_of(self, bearing_NK: FloatArray) -> FloatArray:
        """Return the angles of many unit bearings to every site's bearing, shape (N, M)."""
        return self.bearings.angles_of(bearing_NK)


def _require_table(table_MK: FloatArray) -> None:
    if table_MK.ndim != 2 or table_MK.shape[0] == 0 or table_MK.dtype != np.float64:
        raise InvalidBasin(
            f"sites are {table_MK.dtype} of shape {table_MK.shape}; give float64 (M, K), M >= 1"
        )
