"""Assign kernels (models) to seats (E8 roots) so that kernels with near basins get near seats.

This is a quadratic assignment problem. The heuristic gives the same result on every machine: place
kernels one by one, then improve by single moves, swaps, and re-placing all kernels at once (a
linear assignment), until no step is better. Letters: N kernels, M candidate seats.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from constellation.errors import ConfigError
from constellation.geometry.e8 import NUM_ROOTS
from constellation.geometry.seats import seat_distances
from constellation.geometry.simplex import pairwise_distances
from constellation.records import FloatArray

IndexArray = NDArray[np.intp]

_KERNELS_SEARCHED = 240
"""Number of starts times number of kernels: a small table is searched from every kernel, a table of
240 kernels from one."""
_NUM_RANDOM = 64
_GAIN_MIN = 1e-12
"""Least relative gain of a step; below this value rounding could make the search cycle."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SeatAssignment:
    """A seat for each kernel, and how well seat distances follow basin distances."""

    seats: tuple[int, ...]
    """Seat of each kernel, all different, 0 to 239."""

    distortion: float
    """Scale-free stress in [0, 1], lower is better: 0 when seat distances are proportional to basin
    distances."""

    random_distortion: float
    """Mean distortion of 64 random assignments, for comparison."""


def assign_seats(
    basins_NK: FloatArray, *, candidates: Sequence[int] | None = None, seed: int = 0
) -> SeatAssignment:
    """Assign kernels to seats with little distortion of their distances.

        distortion = min_c sqrt(sum (s_ij - c d_ij)^2 / sum s_ij^2)

    over pairs, with d the distances of basins and s those of their seats.

    Args:
        basins_NK: Simplex points, shape (N, K), 1 <= N <= number of candidates.
        candidates: Seats that may be used, such as `simple_seats()`; None means all 240.
        seed: Seed of the random assignments behind `random_distortion`; the seats do not depend
            on the seed.

    Returns:
        The best assignment found; a local optimum, not a proven best.

    Raises:
        ConfigError: There are more kernels than seats.
    """
    allowed = np.arange(NUM_ROOTS) if candidates is None else np.asarray(candidates, dtype=np.intp)
    num_kernels = basins_NK.shape[0]
    if not 1 <= num_kernels <= len(allowed):
        raise ConfigError(f"{num_kernels} kernels for {len(allowed)} seats; retire kernels first")
    search = _Search(
        basin_NN=pairwise_distances(basins_NK, basins_NK),
        seat_MM=seat_distances()[np.ix_(allowed, allowed)],
    )
    num_starts = min(num_kernels, max(1, _KERNELS_SEARCHED // num_kernels))
    starts = np.linspace(0, num_kernels, num_starts, endpoint=False).astype(int)
    found = [search.improve(search.place(int(first))) for first in starts]
    best = min(found, key=search.distortion)
    generator = np.random.default_rng(seed)
    drawn = [generator.permutation(len(allowed))[:num_kernels] for _ in range(_NUM_RANDOM)]
    return SeatAssignment(
        seats=tuple(int(seat) for seat in allowed[best]),
        distortion=search.distortion(best),
        random_distortion=float(np.mean([search.distortion(choice) for choice in drawn])),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Search:
    """The search for an assignment: tables of basin and seat distances, and the improving steps.

    An assignment `choice_N` holds N different positions in the candidates. With SD = sum s d, SS =
    sum s^2 and DD = sum d^2 over ordered pairs, distortion^2 = 1 - SD^2 / (SS DD), so the search
    maximises SD^2 / SS.
    """

    basin_NN: FloatArray
    seat_MM: FloatArray

    def distortion(self, choice_N: IndexArray) -> float:
        cross, square = self._sums(choice_N)
        basin_square = float(np.sum(self.basin_NN**2))
        if square == 0:
            return 0.0
        fit = cross**2 / (square * basin_square) if basin_square > 0 else 0.0
        return float(np.sqrt(max(0.0, 1 - fit)))

    def place(self, first: int) -> IndexArray:
        """Seat kernel `first` first, then repeatedly the kernel nearest to all seated kernels."""
        num_kernels = len(self.basin_NN)
        scale = self._typical(self.seat_MM) / max(self._typical(self.basin_NN), 1e-300)
        choice_N = np.zeros(num_kernels, dtype=np.intp)
        placed, waiting = [first], set(range(num_kernels)) - {first}
        while waiting:
            kernel = min(waiting, key=lambda k: (self.basin_NN[k, placed].sum(), k))
            wanted = scale * self.basin_NN[kernel, placed]
            cost_M = ((self.seat_MM[:, choice_N[placed]] - wanted) ** 2).sum(axis=1)
            cost_M[choice_N[placed]] = np.inf
            choice_N[kernel] = int(np.argmin(cost_M))
            placed.append(kernel)
            waiting.remove(kernel)
        return choice_N

    def improve(self, choice_N: IndexArray) -> IndexArray:
        """Repeat the best step until neither a step nor re-placing all kernels is better."""
        while True:
            following = self._step(choice_N)
            if following is None:
                following = self._replace_all(choice_N)
            if following is None:
                return choice_N
            choice_N = following

    def _step(self, choice_N: IndexArray) -> IndexArray | None:
        """Return the assignment after the best single move or swap; None when no step is better."""
        move, move_merit = self._best_move(choice_N)
        swap, swap_merit = self._best_swap(choice_N)
        here = self._merit(choice_N)
        if max(move_merit, swap_merit) <= here * (1 + _GAIN_MIN):
            return None
        return move if move_merit >= swap_merit else swap

    def _best_move(self, choice_N: IndexArray) -> tuple[IndexArray, float]:
        rows_NM = self.seat_MM[choice_N]
        cross, square = self._sums(choice_N)
        pull_NM = self.basin_NN @ rows_NM
        own_N = np.arange(len(choice_N))
        cross_NM = cross + 2 * (pull_NM - pull_NM[own_N, choice_N][:, None])
        total_M = (rows_NM**2).sum(axis=0)
        square_NM = square + 2 * (total_M - rows_NM**2 - total_M[choice_N][:, None])
        merit_NM = np.zeros_like(cross_NM)
        np.divide(cross_NM**2, square_NM, out=merit_NM, where=square_NM > 0)
        merit_NM[:, choice_N] = -np.inf
        kernel, seat = divmod(int(np.argmax(merit_NM)), merit_NM.shape[1])
        moved_N = choice_N.copy()
        moved_N[kernel] = seat
        return moved_N, float(merit_NM[kernel, seat])

    def _best_swap(self, choice_N: IndexArray) -> tuple[IndexArray, float]:
        cross, square = self._sums(choice_N)
        seat_NN = self.seat_MM[np.ix_(choice_N, choice_N)]
        pull_NN = self.basin_NN @ seat_NN
        own_N = np.diag(pull_NN)
        gain_NN = pull_NN + pull_NN.T - own_N[:, None] - own_N + 2 * self.basin_NN * seat_NN
        first, second = divmod(int(np.argmax(gain_NN)), len(choice_N))
        swapped_N = choice_N.copy()
        swapped_N[[first, second]] = choice_N[[second, first]]
        merit = (cross + 2 * gain_NN[first, second]) ** 2 / square if square > 0 else 0.0
        return swapped_N, float(merit)

    def _replace_all(self, choice_N: IndexArray) -> IndexArray | None:
        """Re-seat every kernel as if all others kept their seats; None when that is not better."""
        cross, square = self._sums(choice_N)
        basin_square = float(np.sum(self.basin_NN**2))
        if basin_square == 0 or square == 0:
            return None
        rows_NM = self.seat_MM[choice_N]
        scale = cross / basin_square
        # Row i of `rows_NM` belongs to kernel i's present seat; a kernel must not attract itself.
        cost_NM = (rows_NM**2).sum(axis=0) - rows_NM**2 - 2 * scale * (self.basin_NN @ rows_NM)
        _, replaced_N = linear_sum_assignment(cost_NM)
        better = self._merit(replaced_N) > self._merit(choice_N) * (1 + _GAIN_MIN)
        return replaced_N if better else None

    def _sums(self, choice_N: IndexArray) -> tuple[float, float]:
        seat_NN = self.seat_MM[np.ix_(choice_N, choice_N)]
        return float(np.sum(seat_NN * self.basin_NN)), float(np.sum(seat_NN**2))

    def _merit(self, choice_N: IndexArray) -> float:
        cross, square = self._sums(choice_N)
        return cross**2 / square if square > 0 else 0.0

    @staticmethod
    def _typical(distance_XX: FloatArray) -> float:
        size = len(distance_XX)
        return float(distance_XX.sum() / max(1, size * (size - 1)))
