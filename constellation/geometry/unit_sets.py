"""Angles of unit vectors to sets of unit vectors: the angle to the nearest member of each set.

Sets of one member are compared by one matrix product; near 0 and pi the chord is used, so small
angles keep their digits. For sets of several members, a product in single precision finds the sets
that may be nearest, and only those are compared in double precision; the bits are the same as if
all sets had been. A set with fewer members than the largest set is padded with its first member.
Members are sorted by their numbers, so the order in which a set is given changes no bit of an
angle. Letters: K coordinates, M sets, B members of the largest set, N queries, R rows near the
query, C chunks of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from constellation.errors import InvalidBasin
from constellation.records import FloatArray

_BLOCK_ELEMENTS = 2**20
"""Approximate limit of numbers in one temporary array: 8 MiB."""

_COSINE_NEAR = 0.99
"""|cosine| above which an arccosine loses digits (1e-16 / sine) and the chord is used instead."""


_CHUNK_ELEMENTS = 8_192
"""Most numbers of one matrix-vector product of the search: BLAS splits larger products over
threads, whose synchronisation takes longer than the product."""


_NONE = np.empty(0, dtype=np.intp)


@dataclass(slots=True, eq=False)  # not frozen: one is made for every query, in a third of the time
class Nearest:
    """The R sets nearest to a vector, with angles and nearest members."""

    sets: list[int]
    """Indices of the sets, nearest first; of equally near sets the first in the index comes
    first."""
    radians: list[float]
    """Angle to each of these sets, in [0, pi]."""
    members: list[int]
    """Index of the nearest member of each set, in the order in which the set was given; empty when
    every set has one member."""


@dataclass(frozen=True, slots=True, eq=False)
class UnitSets:
    """Sets of unit vectors, indexed for angles to one vector after another."""

    members_MBK: FloatArray
    """Members of every set, shape (M, B, K)."""
    place_MB: NDArray[np.intp]
    """Index of each member in its set before sorting, shape (M, B)."""
    search_CKR: NDArray[np.float32] | None
    """Members in single precision, cut into chunks of rows: the first member of every set, then the
    second of every set, and so on; None when every set has one member."""

    @classmethod
    def of(cls, sets: Sequence[FloatArray]) -> "UnitSets":
        """Index sets of unit vectors.

        Args:
            sets: At least one, each float64 of shape (members, K), with one member or more.

        Raises:
            InvalidBasin: A set has another shape or is empty, or the sets differ in K.
        """
        shapes = sorted({(unit_BK.ndim, *unit_BK.shape[1:]) for unit_BK in sets})
        if len(shapes) != 1 or shapes[0][0] != 2 or not all(len(unit_BK) for unit_BK in sets):
            raise InvalidBasin(
                f"sites have the shapes {[unit_BK.shape for unit_BK in sets][:8]}; give one or "
                "more of shape (B, K), B >= 1, of one K"
            )
        largest = max(map(len, sets))
        members_MBK = np.empty((len(sets), largest, shapes[0][1]))
        place_MB = np.zeros((len(sets), largest), dtype=np.intp)
        for row, unit_BK in enumerate(sets):
            order = np.lexsort(unit_BK.T[::-1])
            padded = np.append(order, np.repeat(order[:1], largest - len(order)))
            members_MBK[row], place_MB[row] = unit_BK[padded], padded
        return cls(members_MBK, place_MB, _chunks(members_MBK) if largest > 1 else None)

    def angles(self, unit_K: FloatArray) -> FloatArray:
        """Return the angle of one unit vector to every set: radians, shape (M,), in [0, pi]."""
        return self._angles(unit_K, self.members_MBK)[0]

    def nearest(self, unit_K: FloatArray, count: int) -> Nearest:
        """Return the sets nearest to a vector; their angles have the bits of `angles`.

        Args:
            unit_K: Unit vector, float64, shape (K,).
            count: Number of sets to return, at least 1; all sets when there are fewer.
        """
        if self.search_CKR is None:
            radians_M, _ = self._angles(unit_K, self.members_MBK)
            order_R = radians_M.argsort(kind="stable")[:count]
            return Nearest(order_R.tolist(), radians_M[order_R].tolist(), [])
        found_R = self._candidates(unit_K, count, self.search_CKR)
        radians_R, member_R = self._angles(unit_K, self.members_MBK.take(found_R, axis=0))
        order_R = radians_R.argsort(kind="stable")[:count]
        set_R = found_R.take(order_R)
        return Nearest(
            sets=set_R.tolist(),
            radians=radians_R.take(order_R).tolist(),
            members=self.place_MB[set_R, member_R.take(order_R)].tolist(),
        )

    def angles_of(self, unit_NK: FloatArray) -> FloatArray:
        """Return the angles of many unit vectors to every set, shape (N, M), in bounded memory."""
        num_sets, largest, num_coordinates = self.members_MBK.shape
        radians_NM = np.empty((len(unit_NK), num_sets))
        flat_KR = self.members_MBK.reshape(-1, num_coordinates).T
        rows = max(1, _BLOCK_ELEMENTS // (largest * num_sets))
        for start in range(0, len(unit_NK), rows):
            block_NK = unit_NK[start : start + rows]
            cosine_NMB = (block_NK @ flat_KR).reshape(-1, num_sets, largest)
            cosine_NM = cosine_NMB[..., 0] if largest == 1 else cosine_NMB.max(axis=2)
            np.arccos(np.clip(cosine_NM, -1, 1), out=radians_NM[start : start + rows])
            queries, sets = np.nonzero(np.abs(cosine_NM) > _COSINE_NEAR)
            pairs = max(1, _BLOCK_ELEMENTS // (largest * num_coordinates))
            for first in range(0, len(queries), pairs):
                query_R, set_R = queries[first : first + pairs], sets[first : first + pairs]
                angle_R = _by_chords(
                    cosine_NMB[query_R, set_R].ravel(),
                    self.members_MBK[set_R].reshape(-1, num_coordinates),
                    np.repeat(block_NK[query_R], largest, axis=0),
                )
                radians_NM[start + query_R, set_R] = angle_R.reshape(-1, largest).min(axis=1)
        return radians_NM

    def _angles(
        self, unit_K: FloatArray, members_RBK: FloatArray
    ) -> tuple[FloatArray, NDArray[np.intp]]:
        """Return the angle to each of some sets, and the nearest member (none for sets of one)."""
        _, largest, num_coordinates = members_RBK.shape
        if largest == 1:
            cosine_RB = cosine_R = members_RBK[:, 0] @ unit_K
            member_R = _NONE
        else:
            # One product per set, so that its bits do not depend on the other sets compared.
            cosine_RB = members_RBK @ unit_K
            member_R = cosine_RB.argmax(axis=1)
            cosine_R = np.maximum.reduce(cosine_RB, axis=1)
        size_R = np.abs(cosine_R)
        if np.maximum.reduce(size_R) <= _COSINE_NEAR:  # nothing to clip, and no chord
            return np.arccos(cosine_R), member_R
        radians_R: FloatArray = np.arccos(np.minimum(np.maximum(cosine_R, -1), 1))
        near = (size_R > _COSINE_NEAR).nonzero()[0]
        if near.size:
            angle_R = _by_chords(
                cosine_RB[near].ravel(), members_RBK[near].reshape(-1, num_coordinates), unit_K
            )
            angle_RB = angle_R.reshape(-1, largest)
            radians_R[near] = angle_RB.min(axis=1)
            if largest > 1:
                member_R[near] = angle_RB.argmin(axis=1)
        return radians_R, member_R

    def _candidates(
        self, unit_K: FloatArray, count: int, search_CKR: NDArray[np.float32]
    ) -> NDArray[np.intp]:
        """Return the indices of all sets that may be among the nearest, ascending."""
        num_sets, largest, num_coordinates = self.members_MBK.shape
        if count >= num_sets:
            return np.arange(num_sets)
        # Most of the time of a routing decision is spent here. Methods and ufuncs skip the argument
        # checks of the numpy functions of the same name.
        cosine_CR = unit_K.astype(np.float32) @ search_CKR
        cosine_BM = cosine_CR.reshape(-1)[: largest * num_sets].reshape(largest, num_sets)
        cosine_M = np.maximum.reduce(cosine_BM)
        ranked_M = cosine_M.copy()
        ranked_M.partition(num_sets - count)
        # Twice the error bound in single precision of a sum of K products of numbers up to 1.
        least = ranked_M[num_sets - count] - (num_coordinates + 4) * 2.0**-23
        found_R: NDArray[np.intp] = (cosine_M >= least).nonzero()[0]
        return found_R


def _chunks(members_MBK: FloatArray) -> NDArray[np.float32]:
    """Return the members in the order of `search_CKR`, in chunks; the last is padded with zeros."""
    num_coordinates = members_MBK.shape[2]
    flat_RK = members_MBK.swapaxes(0, 1).reshape(-1, num_coordinates).astype(np.float32)
    rows = max(1, _CHUNK_ELEMENTS // num_coordinates)
    filled_RK = np.pad(flat_RK, ((0, -len(flat_RK) % rows), (0, 0)))
    return np.ascontiguousarray(filled_RK.reshape(-1, rows, num_coordinates).swapaxes(1, 2))


def _by_chords(cosine_R: FloatArray, unit_RK: FloatArray, other_RK: FloatArray) -> FloatArray:
    """Return angles computed from the chord to a vector or to its opposite, if that is shorter."""
    sign_R = np.where(cosine_R < 0, -1.0, 1.0)
    chord_RK = unit_RK - sign_R[:, None] * other_RK
    half_R = np.arcsin(np.sqrt(np.einsum("rk,rk->r", chord_RK, chord_RK)) / 2)
    radians_R: FloatArray = np.where(sign_R > 0, 2 * half_R, np.pi - 2 * half_R)
    return radians_R
