"""One more kernel on a seat while all others keep theirs.

The seat is the free one that leaves the least distortion (`assignment.py`, which seats all kernels
at once and moves them; here nobody moves). Letters: N kernels that sit, M seats that are free.
"""

from collections.abc import Sequence

import numpy as np

from constellation.errors import ConfigError
from constellation.geometry.e8 import NUM_ROOTS
from constellation.geometry.seats import seat_distances
from constellation.geometry.simplex import pairwise_distances
from constellation.records import FloatArray

_TIE = 1e-9
"""Relative difference of merits below which two seats are equally good: rounding is no reason."""


def free_seat(basin_K: FloatArray, basins_NK: FloatArray, seats: Sequence[int]) -> int:
    """Return the free seat that fits a kernel's distances to the others best.

        distortion^2 = 1 - SD^2 / (SS DD)

    with the sums of `assignment.assign_seats` over all kernels, the new one included.

    Args:
        basin_K: The new kernel's basin, a simplex point, shape (K,).
        basins_NK: Basins of the kernels that sit, shape (N, K), N >= 0.
        seats: Their seats, N different ones, 0 to 239.

    Returns:
        A seat that is not among `seats`; the lowest index among equally good ones.

    Raises:
        ConfigError: When no seat is free.
    """
    taken_N = np.asarray(seats, dtype=np.intp)
    free_M = np.setdiff1d(np.arange(NUM_ROOTS), taken_N)
    if not free_M.size:
        raise ConfigError(f"all {NUM_ROOTS} seats are taken; retire a kernel first")
    if not taken_N.size:
        return int(free_M[0])
    seat_distance_MM = seat_distances()
    among_NN = seat_distance_MM[np.ix_(taken_N, taken_N)]
    between_NN = pairwise_distances(basins_NK, basins_NK)
    distance_N = pairwise_distances(basins_NK, basin_K[None])[:, 0]
    reach_MN = seat_distance_MM[np.ix_(free_M, taken_N)]
    cross_M = np.sum(among_NN * between_NN) + 2 * reach_MN @ distance_N
    square_M = np.sum(among_NN**2) + 2 * np.sum(reach_MN**2, axis=1)
    merit_M = cross_M**2 / square_M  # no seat is at distance 0 from a taken one
    return int(free_M[np.flatnonzero(merit_M >= merit_M.max() * (1 - _TIE))[0]])
