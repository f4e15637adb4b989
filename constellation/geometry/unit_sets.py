"""Sets of unit vectors, and the angle of a vector to each set: that to its nearest member.

Sets of one member are compared by one matrix product, as accurate near 0 and pi as chords are.
Larger sets are kept level by level, every set's first member, then every set's second, so that the
largest cosine of each set is one pass over contiguous memory; a set with fewer members than the
largest one repeats its first. Members are ordered by their numbers: the order in which a set is
given changes no bit of an angle.
Letters: K coordinates, M sets, B members of the largest set, N queries, R rows near the query.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from constellation.errors import InvalidBasin
from constellation.records import FloatArray

_BLOCK_ELEMENTS = 2**20
"""Numbers of one temporary array at most, about: 8 MiB."""

_COSINE_NEAR = 0.99
"""Above it an arccosine loses digits (1e-16 / sine), and the chord is used in its place."""


@dataclass(frozen=True, slots=True, eq=False)
class UnitSets:
    """Sets of unit vectors to which one vector after another is compared."""

    levels_BMK: FloatArray
    """The members, level by level, shape (B, M, K)."""
    place_BM: NDArray[np.intp]
    """Index of each member in its set as it was given, shape (B, M)."""

    @classmethod
    def of(cls, sets: Sequence[FloatArray]) -> "UnitSets":
        """Build the index of sets of unit vectors.

        Args:
            sets: At least one, each float64 of shape (members, K), with one member or more.

        Raises:
            InvalidBasin: A set is something else, or the sets differ in K.
        """
        shapes = sorted({(unit_BK.ndim, *unit_BK.shape[1:]) for unit_BK in sets})
        if len(shapes) != 1 or shapes[0][0] != 2 or not all(len(unit_BK) for unit_BK in sets):
            raise InvalidBasin(
                f"sites have the shapes {[unit_BK.shape for unit_BK in sets][:8]}; give one or "
                "more of shape (B, K), B >= 1, of one K"
            )
        levels = max(map(len, sets))
        levels_BMK = np.empty((levels, len(sets), shapes[0][1]))
        place_BM = np.zeros((levels, len(sets)), dtype=np.intp)
        for column, unit_BK in enumerate(sets):
            order = np.lexsort(unit_BK.T[::-1])
            padded = np.append(order, np.repeat(order[:1], levels - len(order)))
            levels_BMK[:, column], place_BM[:, column] = unit_BK[padded], padded
        return cls(levels_BMK, place_BM)

    @property
    def several(self) -> bool:
        """Whether a set has more than one member."""
        return len(self.levels_BMK) > 1

    def compare(self, unit_K: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the angles of one unit vector to every set, and its cosines to every member.

        Args:
            unit_K: Unit vector, float64, shape (K,).

        Returns:
            Radians, shape (M,), in [0, pi]; and cosines, shape (B, M), for `nearest`.
        """
        levels, num_sets, num_coordinates = self.levels_BMK.shape
        cosine_R = self.levels_BMK.reshape(-1, num_coordinates) @ unit_K
        cosine_BM: FloatArray = cosine_R.reshape(levels, num_sets)
        cosine_M = cosine_BM.max(axis=0) if self.several else cosine_R
        radians_M: FloatArray = np.arccos(np.clip(cosine_M, -1, 1))
        near = np.flatnonzero(np.abs(cosine_M) > _COSINE_NEAR)
        if near.size:
            angle_BR = _by_chords(
                cosine_BM[:, near].ravel(),
                self.levels_BMK[:, near].reshape(-1, num_coordinates),
                unit_K,
            )
            radians_M[near] = angle_BR.reshape(levels, -1).min(axis=0)
        return radians_M, cosine_BM

    def angles_of(self, unit_NK: FloatArray) -> FloatArray:
        """Return all angles of many unit vectors, shape (N, M); memory: the result, a constant."""
        levels, num_sets, num_coordinates = self.levels_BMK.shape
        radians_NM = np.empty((len(unit_NK), num_sets))
        flat_KR = self.levels_BMK.reshape(-1, num_coordinates).T
        rows = max(1, _BLOCK_ELEMENTS // (levels * num_sets))
        for start in range(0, len(unit_NK), rows):
            block_NK = unit_NK[start : start + rows]
            cosine_NBM = (block_NK @ flat_KR).reshape(-1, levels, num_sets)
            cosine_NM = cosine_NBM.max(axis=1) if self.several else cosine_NBM[:, 0]
            np.arccos(np.clip(cosine_NM, -1, 1), out=radians_NM[start : start + rows])
            queries, sets = np.nonzero(np.abs(cosine_NM) > _COSINE_NEAR)
            pairs = max(1, _BLOCK_ELEMENTS // (levels * num_coordinates))
            for first in range(0, len(queries), pairs):
                query_R, set_R = queries[first : first + pairs], sets[first : first + pairs]
                angle_RB = _by_chords(
                    cosine_NBM[query_R, :, set_R].ravel(),
                    self.levels_BMK[:, set_R].swapaxes(0, 1).reshape(-1, num_coordinates),
                    np.repeat(block_NK[query_R], levels, axis=0),
                )
                radians_NM[start + query_R, set_R] = angle_RB.reshape(-1, levels).min(axis=1)
        return radians_NM

    def nearest(self, cosine_BM: FloatArray, sets: Sequence[int]) -> list[int]:
        """Return which member of each of the named sets is nearest to a vector.

        Args:
            cosine_BM: What `compare` returned for the vector.
            sets: Places of sets.

        Returns:
            Indices in the sets as they were given. Members that are nearer to each other than
            1e-8 rad may be confused.
        """
        listed = list(sets)
        found: list[int] = self.place_BM[cosine_BM[:, listed].argmax(axis=0), listed].tolist()
        return found


def _by_chords(cosine_R: FloatArray, unit_RK: FloatArray, other_RK: FloatArray) -> FloatArray:
    """Return angles by the chord to a vector, or to its opposite, whichever is shorter."""
    sign_R = np.where(cosine_R < 0, -1.0, 1.0)
    chord_RK = unit_RK - sign_R[:, None] * other_RK
    half_R = np.arcsin(np.sqrt(np.einsum("rk,rk->r", chord_RK, chord_RK)) / 2)
    radians_R: FloatArray = np.where(sign_R > 0, 2 * half_R, np.pi - 2 * half_R)
    return radians_R
