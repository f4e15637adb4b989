"""Fisher-Rao geometry of the simplex: validation, distance, geodesic, nearest site, projection.

A basin is a point p of the simplex: K entries >= 0 that sum to 1. The map psi = sqrt(p) takes the
simplex to the positive orthant of the unit sphere. Distances use the textbook radius 2, so they lie
in [0, pi]; every artifact stores this as `fisher_rao_radius: 2`.

The last axis is always K; leading axes broadcast. Letters: K outcomes, N queries, M sites. Uses no
network, clock or randomness. Only `check_simplex` validates; call it where data enters.

Source: Amari and Nagaoka, Methods of Information Geometry (2000), section 2.2.
"""

from typing import Any

from constellation.errors import InvalidBasin
from constellation.geometry.arrays import FLOOR, ArrayT, namespace, norm, sine_ratio, square_root

FISHER_RAO_RADIUS = 2
"""Radius of the sphere on which distances are measured; stored in every artifact."""

_BLOCK_ELEMENTS = 1 << 14
"""Elements of a temporary array in `pairwise_distances`; a larger array does not fit the cache."""


def check_simplex(p_K: ArrayT, *, tolerance: float = 1e-4) -> ArrayT:
    """Return `p_K` renormalised, or raise an error when it is not on the simplex.

    Args:
        p_K: float32 or float64, shape (..., K), K >= 2.
        tolerance: Largest |sum - 1| accepted; the sum is then made 1 up to rounding.

    Returns:
        The same points, each divided by its sum, in a new array.

    Raises:
        InvalidBasin: An array is not on the simplex; names the entry and the accepted range.
    """
    xp = namespace(p_K)
    _check_form(xp, p_K)
    _refuse_where(xp, ~xp.isfinite(p_K), p_K, "entries must be finite")
    _refuse_where(xp, p_K < 0, p_K, "entries must be >= 0")
    total = xp.sum(p_K, axis=-1, keepdims=True)
    wrong = xp.abs(total - 1) > tolerance
    _refuse_where(xp, wrong, total, f"entries must sum to 1 within {tolerance:g}, this is the sum")
    checked: ArrayT = p_K / total
    return checked


def _check_form(xp: Any, p_K: Any) -> None:
    if p_K.dtype not in (xp.float32, xp.float64):
        raise InvalidBasin(f"a basin has dtype {p_K.dtype}; give float32 or float64")
    if p_K.ndim == 0 or p_K.shape[-1] < 2:
        shape = tuple(p_K.shape)
        raise InvalidBasin(f"a basin has shape {shape}; give at least 2 outcomes on the last axis")


def _refuse_where(xp: Any, wrong: Any, values: Any, rule: str) -> None:
    if not bool(xp.any(wrong)):
        return
    place = tuple(int(axis[0]) for axis in xp.nonzero(wrong))
    raise InvalidBasin(f"a basin has {float(values[place])!r} at index {place}; {rule}")


def root_difference(p_K: ArrayT, q_K: ArrayT) -> ArrayT:
    """Return sqrt(p) - sqrt(q) without cancellation.

        (p - q) / (sqrt(p + 1e-30) + sqrt(q + 1e-30))

    Subtracting the roots themselves loses half the digits of float32 at separation 1e-4; this
    form loses none, is exactly 0 at p = q, and has finite gradients at zero entries.

    Args:
        p_K: Probabilities, shape (..., K).
        q_K: Probabilities, shape (..., K), broadcast against `p_K`.

    Returns:
        Shape (..., K), each entry in [-1, 1].
    """
    xp = namespace(p_K, q_K)
    difference: ArrayT = (p_K - q_K) / (xp.sqrt(p_K + FLOOR) + xp.sqrt(q_K + FLOOR))
    return difference


def distance(p_K: ArrayT, q_K: ArrayT) -> ArrayT:
    """Return the Fisher-Rao distance between categorical distributions.

        d(p, q) = 2 arccos(sum_k sqrt(p_k q_k)) = 4 arcsin(|sqrt p - sqrt q| / 2)

    The arcsine form is used: near p = q the arccosine loses half of the digits, and its gradient
    is infinite there.

    Args:
        p_K: Probabilities, shape (..., K).
        q_K: Probabilities, shape (..., K), broadcast against `p_K`.

    Returns:
        Radians on the sphere of radius 2, shape (...), in [0, pi] up to rounding. `distance(p, p)`
        is exactly 0 with gradient exactly 0; gradients are finite where entries are 0.

    Note:
        Does not call `check_simplex`: validate once, where the data enters.
    """
    # chord <= sqrt(2) because both square roots lie in one orthant, so asin needs no clamp.
    chord = norm(root_difference(p_K, q_K))
    radians: ArrayT = 4 * namespace(chord).asin(chord / 2)
    return radians


def pairwise_distances(p_NK: ArrayT, q_MK: ArrayT) -> ArrayT:
    """Return the distance of every point p to every point q, as accurate as `distance`.

    Args:
        p_NK: Probabilities, shape (N, K).
        q_MK: Probabilities, shape (M, K).

    Returns:
        Radians, shape (N, M), in [0, pi]. Works in blocks, so memory is N*M plus a constant.
    """
    xp = namespace(p_NK, q_MK)
    rows = max(1, _BLOCK_ELEMENTS // max(1, q_MK.shape[0] * q_MK.shape[1]))
    starts = range(0, max(1, p_NK.shape[0]), rows)
    blocks = [distance(p_NK[start : start + rows, None, :], q_MK[None]) for start in starts]
    table: ArrayT = blocks[0] if len(blocks) == 1 else xp.concat(blocks, axis=0)
    return table


def nearest_site(query_NK: ArrayT, sites_MK: ArrayT) -> ArrayT:
    """Return the index of the nearest site (point of the simplex) to each query.

    One matrix product of square roots: sum sqrt(q_k s_k) falls as the distance rises, so the
    largest product is the smallest distance. Sites closer to each other than 1e-7 rad (float64)
    may be confused; the first of equals wins.

    Args:
        query_NK: Probabilities, shape (N, K).
        sites_MK: Probabilities, shape (M, K), M >= 1.

    Returns:
        Integers in [0, M), shape (N,).
    """
    xp = namespace(query_NK, sites_MK)
    affinity_NM = xp.sqrt(query_NK) @ xp.sqrt(sites_MK).T
    index_N: ArrayT = xp.argmax(affinity_NM, axis=-1)
    return index_N


def geodesic(p_K: ArrayT, q_K: ArrayT, t: ArrayT | float) -> ArrayT:
    """Return the point at share `t` of the shortest path from p to q.

        psi(t) = [sin((1-t) w) psi_p + sin(t w) psi_q] / sin w,   w = d(p, q) / 2

    Written with sin(tw)/sin(w) = t sinc(tw)/sinc(w), which needs no case for w = 0. Speed is
    constant: d(p, psi(t)^2) = t d(p, q).

    Args:
        p_K: Start, shape (..., K).
        q_K: End, shape (..., K), broadcast against `p_K`.
        t: Share in [0, 1]; a number, or an array that broadcasts against the leading axes.

    Returns:
        Simplex points, shape (..., K).
    """
    half_angle = distance(p_K, q_K)[..., None] / 2
    share = t if isinstance(t, float | int) else t[..., None]
    whole = sine_ratio(half_angle)
    start = (1 - share) * sine_ratio((1 - share) * half_angle) / whole
    end = share * sine_ratio(share * half_angle) / whole
    point: ArrayT = from_root(start * square_root(p_K) + end * square_root(q_K))
    return point


def to_root(p_K: ArrayT) -> ArrayT:
    """Map simplex points to the unit sphere by psi = sqrt(p); shape (..., K)."""
    root: ArrayT = namespace(p_K).sqrt(p_K)
    return root


def from_root(psi_K: ArrayT) -> ArrayT:
    """Map vectors of square roots back to the simplex: psi^2 / |psi|^2; shape (..., K)."""
    square = psi_K * psi_K
    point: ArrayT = square / namespace(square).sum(square, axis=-1, keepdims=True)
    return point


def project_tangent(p_K: ArrayT, v_K: ArrayT) -> ArrayT:
    """Return the Fisher-orthogonal projection of `v` on the tangent space at `p`.

        v - p sum(v)

    In simplex coordinates the metric is sum v_k w_k / p_k. The subtracted multiple of p is
    Fisher-orthogonal to every vector that sums to 0. (v - mean(v) is the Euclidean projection, and
    is wrong here except at the uniform distribution.)

    Args:
        p_K: Simplex point, shape (..., K).
        v_K: Any vector, shape (..., K), broadcast against `p_K`.

    Returns:
        Vectors that sum to 0 up to rounding, shape (..., K).
    """
    tangent: ArrayT = v_K - p_K * namespace(p_K, v_K).sum(v_K, axis=-1, keepdims=True)
    return tangent
