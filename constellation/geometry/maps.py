"""Logarithm, exponential and parallel transport on the simplex, in the square-root chart.

Convention: a tangent vector at p is a vector of R^K orthogonal to psi_p = sqrt(p) whose Euclidean
norm is its Fisher-Rao length, so `|log_map(p, q)| = distance(p, q)` with plain `norm`. (On the
sphere of radius 2 the point is 2 psi; tangent vectors there have the same direction.) The change
to simplex coordinates, dp = psi_p v, is left to callers that need it.

Last axis K, leading axes broadcast. The simplex lies in one orthant, so half angles w = d/2 never
pass pi/2 and no map here has a cut locus.

Source: do Carmo, Riemannian Geometry (1992), chapters 2 and 3; the sphere of radius 2.
"""

from constellation.geometry.arrays import (
    ArrayT,
    arcsine_ratio,
    namespace,
    norm,
    sine_ratio,
    square_root,
)
from constellation.geometry.simplex import from_root, root_difference


def chord_direction(p_K: ArrayT, q_K: ArrayT) -> tuple[ArrayT, ArrayT]:
    """Return the direction psi_q - cos(w) psi_p from p to q, and the half chord sin(w / 2).

    With c = |psi_q - psi_p| the direction is (psi_q - psi_p) + (c^2 / 2) psi_p, which avoids
    computing a small vector as a difference of large ones.

    Args:
        p_K: Simplex points, shape (..., K).
        q_K: Simplex points, shape (..., K), broadcast against `p_K`.

    Returns:
        A vector orthogonal to psi_p of length sin(w), shape (..., K); sin(w/2), shape (..., 1).
    """
    difference_K = root_difference(q_K, p_K)
    half_chord: ArrayT = norm(difference_K)[..., None] / 2
    direction_K: ArrayT = difference_K + 2 * half_chord * half_chord * square_root(p_K)
    return direction_K, half_chord


def log_map(p_K: ArrayT, q_K: ArrayT) -> ArrayT:
    """Return the tangent vector at p that points to q; its length is the distance of p and q.

        log_p(q) = 2 (w / sin w) (psi_q - cos w psi_p),   w = d(p, q) / 2

    Args:
        p_K: Simplex points, shape (..., K).
        q_K: Simplex points, shape (..., K), broadcast against `p_K`.

    Returns:
        Square-root chart vectors, shape (..., K); exactly 0 at p = q.
    """
    direction_K, half_chord = chord_direction(p_K, q_K)
    # w = 2 asin(x) and sin w = 2 x sqrt(1 - x^2) for the half chord x, so w / sin w needs no case.
    cosine = namespace(half_chord).sqrt(1 - half_chord * half_chord)
    tangent: ArrayT = 2 * arcsine_ratio(half_chord) / cosine * direction_K
    return tangent


def exp_map(p_K: ArrayT, v_K: ArrayT) -> ArrayT:
    """Return the end point of the geodesic from p with initial velocity v, after unit time.

        psi = cos(|v| / 2) psi_p + sin(|v| / 2) v / |v|

    Args:
        p_K: Simplex points, shape (..., K).
        v_K: Tangent vectors in the square-root chart, orthogonal to sqrt(p), broadcast.

    Returns:
        Simplex points psi^2, shape (..., K). A geodesic that runs into the boundary is reflected
        there, since the square forgets signs; `exp_map(p, log_map(p, q))` is q.
    """
    half_length = norm(v_K)[..., None] / 2
    cosine = namespace(half_length).cos(half_length)
    root_K = cosine * square_root(p_K) + sine_ratio(half_length) / 2 * v_K
    point: ArrayT = from_root(root_K)
    return point


def parallel_transport(p_K: ArrayT, q_K: ArrayT, v_K: ArrayT) -> ArrayT:
    """Transport a tangent vector from p to q along the geodesic between them.

        v - <psi_q, v> / (1 + <psi_p, psi_q>) (psi_p + psi_q)

    Args:
        p_K: Simplex points, shape (..., K).
        q_K: Simplex points, shape (..., K).
        v_K: Tangent vectors at p in the square-root chart, shape (..., K).

    Returns:
        Tangent vectors at q, shape (..., K); lengths and angles are kept.
    """
    xp = namespace(p_K, q_K, v_K)
    root_p, root_q = square_root(p_K), square_root(q_K)
    along = xp.sum(root_q * v_K, axis=-1, keepdims=True)
    cosine = xp.sum(root_p * root_q, axis=-1, keepdims=True)
    carried: ArrayT = v_K - along / (1 + cosine) * (root_p + root_q)
    return carried
