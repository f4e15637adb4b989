"""Seats: 240 fixed points of the simplex, one per E8 root, that serve as addresses of kernels.

Every process can compute the seats itself. Seat r is the E8 root r mapped to the simplex by the
exponential map at the uniform distribution:

    psi_r = cos(rho) / 8 + sin(rho) A r / sqrt(2),   p_r = psi_r^2,

where A holds columns 1 to 8 of the 64 x 64 Sylvester-Hadamard matrix divided by 8. All seats lie 2
rho from the centre, at exactly four mutual distances, with 56 nearest neighbours each. A seat is an
address (failover order, replicas, growth) and does not affect routing.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from constellation.errors import ConfigError
from constellation.geometry.e8 import NUM_ROOTS, roots, simple_roots
from constellation.geometry.simplex import from_root
from constellation.records import FloatArray

SEAT_DIM = 64
"""Number of outcomes of the simplex that seats lie on."""

RHO_DEFAULT = 0.3228
"""Half the distance of a seat from the uniform distribution, radians."""

RHO_MAX = float(np.arctan(np.sqrt(2) / 4))
"""Largest rho at which all square roots are >= 0: 0.3398 rad, since |A r| <= 4/8 in each entry."""


def seat_basins(rho: float = RHO_DEFAULT) -> FloatArray:
    """Return the simplex point of every seat.

    Args:
        rho: Half the distance from the uniform distribution, radians, 0 < rho <= 0.3398.

    Returns:
        Shape (240, 64), in the order of `e8.roots`.

    Raises:
        ConfigError: For a rho out of range.
    """
    _check_rho(rho)
    frame_KD = _hadamard()[:, 1:9] / 8
    root_MK = np.cos(rho) / 8 + np.sin(rho) / np.sqrt(2) * roots() @ frame_KD.T
    basin_MK: FloatArray = from_root(root_MK)
    return basin_MK


def seat_distances(rho: float = RHO_DEFAULT) -> FloatArray:
    """Return the Fisher-Rao distances between all seats, from the angles theta between roots.

        cos(d/2) = cos^2 rho + sin^2 rho cos theta,   or   d = 4 arcsin(sin rho sin(theta/2))

    Args:
        rho: Half the distance from the centre, radians, 0 < rho <= 0.3398.

    Returns:
        Radians, shape (240, 240); off the diagonal exactly four values, for theta of 60, 90, 120
        and 180 degrees; exactly 0 on the diagonal.

    Raises:
        ConfigError: For a rho out of range.
    """
    _check_rho(rho)
    cosine_MM = roots() @ roots().T / 2
    half_sine_MM = np.sqrt((1 - cosine_MM) / 2)
    radians: FloatArray = 4 * np.arcsin(np.sin(rho) * half_sine_MM)
    return radians


@cache
def neighbour_ring(seat: int) -> tuple[int, ...]:
    """Return the 56 seats nearest to `seat`, ascending, the same in every process.

    Args:
        seat: Index of a root, 0 to 239.

    Raises:
        ConfigError: For a seat that does not exist.
    """
    _check_seat(seat)
    products_M = roots() @ roots()[seat]
    return tuple(int(index) for index in np.flatnonzero(products_M == 1))


@cache
def simple_seats() -> tuple[int, ...]:
    """Return the seats of the eight simple roots of E8 in Bourbaki order."""
    products = simple_roots() @ roots().T
    return tuple(int(index) for index in products.argmax(axis=1))


def _hadamard() -> NDArray[np.float64]:
    """Return the Sylvester-Hadamard matrix: entry (i, j) is -1 to the number of bits of i AND j."""
    block = np.array([[1.0, 1.0], [1.0, -1.0]])
    matrix = np.ones((1, 1))
    while matrix.shape[0] < SEAT_DIM:
        matrix = np.kron(block, matrix)
    return matrix


def _check_rho(rho: float) -> None:
    if not 0 < rho <= RHO_MAX:
        raise ConfigError(f"rho is {rho}; seats need 0 < rho <= {RHO_MAX:.6f} rad")


def _check_seat(seat: int) -> None:
    if not 0 <= seat < NUM_ROOTS:
        raise ConfigError(f"seat {seat} does not exist; seats are 0 to {NUM_ROOTS - 1}")
