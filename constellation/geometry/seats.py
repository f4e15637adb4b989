"""Seats: 240 fixed points of the simplex, one per E8 root, that serve as addresses of kernels.

Every process can compute the seats itself. Seat r is the E8 root r mapped to the simplex by the
exponential map at the uniform distribution:

    psi_r = cos(rho) / 8 + sin(rho) A r / sqrt(2),   p_r = psi_r^2,

where A holds columns 1 to 8 of the 64 x 64 Sylvester-Hadamard matrix divided by 8. All seats lie 2
rho from the centre, at exactly four mutual distances, with 56 nearest neighbours each. A seat is an
address (failover order, replicas, growth) and does not affect routing.
"""

import numpy as np

from constellation.errors import ConfigError
from constellation.geometry.e8 import roots
from constellation.records import FloatArray

RHO_DEFAULT = 0.3228
"""Half the distance of a seat from the uniform distribution, radians."""

RHO_MAX = float(np.arctan(np.sqrt(2) / 4))
"""Largest rho at which all square roots are >= 0: 0.3398 rad, since |A r| <= 4/8 in each entry."""


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
    if not 0 < rho <= RHO_MAX:
        raise ConfigError(f"rho is {rho}; seats need 0 < rho <= {RHO_MAX:.6f} rad")
    cosine_MM = roots() @ roots().T / 2
    half_sine_MM = np.sqrt((1 - cosine_MM) / 2)
    radians: FloatArray = 4 * np.arcsin(np.sin(rho) * half_sine_MM)
    return radians
