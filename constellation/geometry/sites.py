"""Sites made ready for queries: one at a time for a router, many at once for calibration.

The same distances and angles as `distance` and `angle`, with everything that does not depend on
the query computed once. numpy only, float64 only.
Letters: K outcomes, M sites, N queries, R rows that are near the query.
"""

from dataclasses import dataclass
from math import asin, sqrt

import numpy as np

from constellation.errors import InvalidBasin
from constellation.geometry.bearings import BEARING_MIN
from constellation.records import FloatArray

_BLOCK_ELEMENTS = 2**20
"""Numbers of one temporary array at most, about: 8 MiB."""

_COSINE_NEAR = 0.99
"""Above it an arccosine loses digits (1e-16 / sine), and the chord is used in its place."""


@dataclass(frozen=True, slots=True, eq=False)
class SiteIndex:
    """Points of the simplex to which one query after another is compared."""

    root_MK: FloatArray
    """Square roots of the sites, shape (M, K)."""

    @classmethod
    def of(cls, sites_MK: FloatArray) -> "SiteIndex":
        """Build the index of simplex points of shape (M, K), M >= 1, already checked."""
        _require_table(sites_MK)
        return cls(np.ascontiguousarray(np.sqrt(sites_MK)))

    def distances(self, query_K: FloatArray) -> FloatArray:
        """Return the Fisher-Rao distance of one query to every site.

        Args:
            query_K: Simplex point, float64, shape (K,).

        Returns:
            Radians, shape (M,), in [0, pi], within 1e-13 of `distance`; exactly 0 at a site
            equal to the query.
        """
        return 2 * _angles_between_units(np.sqrt(query_K), self.root_MK)

    def distances_of(self, query_NK: FloatArray) -> FloatArray:
        """Return the distances of many queries to every site, shape (N, M), as `distances` does."""
        return 2 * _angles_of_units(np.sqrt(query_NK), self.root_MK)


@dataclass(frozen=True, slots=True, eq=False)
class BearingIndex:
    """Unit bearings, at one background, to which one query after another is compared."""

    bearing_MK: FloatArray
    """Unit bearings of the sites, shape (M, K)."""

    background_root_K: FloatArray
    """Square root of the background, where all bearings are taken, shape (K,)."""

    @classmethod
    def of(cls, bearing_MK: FloatArray, background_K: FloatArray) -> "BearingIndex":
        """Build the index of unit bearings of shape (M, K), M >= 1, taken at `background_K`."""
        _require_table(bearing_MK)
        return cls(np.ascontiguousarray(bearing_MK), np.sqrt(background_K))

    def bearing(self, query_K: FloatArray) -> FloatArray | None:
        """Return the unit bearing of one query, the first part of what `look` returns."""
        return self.look(query_K)[0]

    def look(self, query_K: FloatArray) -> tuple[FloatArray | None, float]:
        """Return which way one query lies from the background, and how far.

        Args:
            query_K: Simplex point, float64, shape (K,).

        Returns:
            The unit bearing, shape (K,), as `bearings.bearing`, but None for a query nearer than
            1e-6 rad to the background; and |log_pi(q)|, radians in [0, pi].
        """
        difference_K = np.sqrt(query_K) - self.background_root_K
        square = float(difference_K @ difference_K)
        far = 4 * asin(min(1.0, sqrt(square) / 2))
        if square < (BEARING_MIN / 2) ** 2:  # |log| is twice the chord this near
            return None, far
        direction_K: FloatArray = difference_K + square / 2 * self.background_root_K
        return direction_K / np.sqrt(direction_K @ direction_K), far

    def angles(self, bearing_K: FloatArray) -> FloatArray:
        """Return the angle of one unit bearing to every site's bearing.

        Args:
            bearing_K: Unit bearing at the same background, float64, shape (K,).

        Returns:
            Radians, shape (M,), in [0, pi], within 1e-13 of `angle`, near both ends too.
        """
        return _angles_between_units(bearing_K, self.bearing_MK)

    def angles_of(self, bearing_NK: FloatArray) -> FloatArray:
        """Return the angles of many unit bearings to every site's, shape (N, M), as `angles`."""
        return _angles_of_units(bearing_NK, self.bearing_MK)


def _angles_between_units(unit_K: FloatArray, unit_MK: FloatArray) -> FloatArray:
    """Return angles by one matrix product, and by chords where its arccosine is inaccurate."""
    cosine_M = unit_MK @ unit_K
    radians_M: FloatArray = np.arccos(np.clip(cosine_M, -1, 1))
    near = np.flatnonzero(np.abs(cosine_M) > _COSINE_NEAR)
    if near.size:
        sign_R = np.sign(cosine_M[near])
        chord_RK = unit_MK[near] - sign_R[:, None] * unit_K
        half_R = np.arcsin(np.sqrt(np.einsum("rk,rk->r", chord_RK, chord_RK)) / 2)
        radians_M[near] = np.where(sign_R > 0, 2 * half_R, np.pi - 2 * half_R)
    return radians_M


def _angles_of_units(unit_NK: FloatArray, unit_MK: FloatArray) -> FloatArray:
    """Return all angles between two sets of unit vectors; memory is the result and a constant."""
    radians_NM = np.empty((len(unit_NK), len(unit_MK)))
    rows = max(1, _BLOCK_ELEMENTS // len(unit_MK))
    for start in range(0, len(unit_NK), rows):
        block_NK = unit_NK[start : start + rows]
        cosine_NM = block_NK @ unit_MK.T
        np.arccos(np.clip(cosine_NM, -1, 1), out=radians_NM[start : start + rows])
        queries, sites = np.nonzero(np.abs(cosine_NM) > _COSINE_NEAR)
        pairs = max(1, _BLOCK_ELEMENTS // unit_MK.shape[1])
        for first in range(0, len(queries), pairs):
            query_R, site_R = queries[first : first + pairs], sites[first : first + pairs]
            sign_R = np.sign(cosine_NM[query_R, site_R])
            chord_RK = unit_MK[site_R] - sign_R[:, None] * block_NK[query_R]
            half_R = np.arcsin(np.sqrt(np.einsum("rk,rk->r", chord_RK, chord_RK)) / 2)
            angle_R = np.where(sign_R > 0, 2 * half_R, np.pi - 2 * half_R)
            radians_NM[start + query_R, site_R] = angle_R
    return radians_NM


def _require_table(table_MK: FloatArray) -> None:
    if table_MK.ndim != 2 or table_MK.shape[0] == 0 or table_MK.dtype != np.float64:
        raise InvalidBasin(
            f"sites are {table_MK.dtype} of shape {table_MK.shape}; give float64 (M, K), M >= 1"
        )
