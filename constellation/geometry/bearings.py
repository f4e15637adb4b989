"""Bearings: the unit direction of a basin (point of the simplex) seen from the background.

The bearing of p is the unit vector along log_pi(p) in the square-root chart at the background pi.
It ignores what all texts share. Angles between bearings are radians in [0, pi]. Letters: K
outcomes, N points, M directions.
"""

from constellation.geometry.arrays import ArrayT, namespace, norm
from constellation.geometry.maps import chord_direction

BEARING_MIN = 1e-6
"""Radians; a basin nearer to the background has no bearing, and routing uses distances instead."""


def bearing(p_K: ArrayT, background_K: ArrayT) -> ArrayT:
    """Return the unit direction from the background pi to a simplex point p.

        u = log_pi(p) / |log_pi(p)|

    Args:
        p_K: Simplex points, shape (..., K).
        background_K: The background pi, shape (..., K), broadcast against `p_K`.

    Returns:
        Shape (..., K), orthogonal to sqrt(pi), of length 1; all zeros where
        |log_pi(p)| < 1e-6, which callers test with `has_bearing`.
    """
    direction_K, half_chord = chord_direction(background_K, p_K)
    # The distance is 4 asin(x) of the half chord x; at 1e-6 the sine is its argument.
    unit_K: ArrayT = _unit(direction_K, half_chord >= BEARING_MIN / 4)
    return unit_K


def has_bearing(bearing_K: ArrayT) -> ArrayT:
    """Return True where a bearing is a direction, and False where all zeros stand for no bearing.

    Args:
        bearing_K: Results of `bearing` or `mean_bearing`, shape (..., K).

    Returns:
        Booleans, shape (...).
    """
    present: ArrayT = namespace(bearing_K).any(bearing_K != 0, axis=-1)
    return present


def angle(u_K: ArrayT, v_K: ArrayT) -> ArrayT:
    """Return the angle between two unit vectors in radians.

        2 atan2(|u - v|, |u + v|)

    Accurate to rounding near 0 and near pi, where the arccosine of the inner product loses half
    of the digits.

    Args:
        u_K: Unit vectors, shape (..., K).
        v_K: Unit vectors, shape (..., K), broadcast against `u_K`.

    Returns:
        Radians in [0, pi], shape (...). A zero vector (no bearing) is at pi/2 from every unit
        vector and at 0 from another zero vector; there the gradient is not defined.
    """
    radians: ArrayT = 2 * namespace(u_K, v_K).atan2(norm(u_K - v_K), norm(u_K + v_K))
    return radians


def mean_bearing(bearing_NK: ArrayT, weights_N: ArrayT | None = None) -> ArrayT:
    """Return the unit direction of the weighted average of bearings at one background.

    Args:
        bearing_NK: Bearings, shape (..., N, K); zero rows (no bearing) add nothing to the sum.
        weights_N: Weights >= 0, shape (..., N); None means equal.

    Returns:
        Shape (..., K); zeros when the average is shorter than 1e-6 and has no direction.
    """
    weighted = bearing_NK if weights_N is None else bearing_NK * weights_N[..., None]
    xp = namespace(bearing_NK)
    total_K = xp.sum(weighted, axis=-2)
    mass = bearing_NK.shape[-2] if weights_N is None else xp.sum(weights_N, axis=-1)[..., None]
    mean_K: ArrayT = _unit(total_K, norm(total_K)[..., None] >= BEARING_MIN * mass)
    return mean_K


def _unit(vector_K: ArrayT, present: ArrayT) -> ArrayT:
    xp = namespace(vector_K)
    length = norm(vector_K)[..., None]
    present = present & (length > 0)
    safe = xp.where(present, length, xp.ones_like(length))
    unit: ArrayT = xp.where(present, vector_K / safe, xp.zeros_like(vector_K))
    return unit
