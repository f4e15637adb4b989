"""The 240 roots of the E8 lattice: reflections, nearest root, projection on the Coxeter plane.

A root is a vector of R^8 of squared length 2. The order of `roots` is part of every artifact that
stores a seat, and must not change:

* 0 to 111: (+-1, +-1, 0^6), by the pair i < j of places in lexicographic order, then by signs
  with plus before minus: index = 4 pair(i, j) + 2 [minus at i] + [minus at j];
* 112 to 239: (+-1/2)^8 with an even number of minus signs, by the signs of the first seven places
  read as a binary number, minus = 1, place 0 first; the last sign follows from the parity.

All entries are multiples of 1/2, so inner products of roots are exact. Letters: N vectors.

Source: Bourbaki, Lie Groups and Lie Algebras, chapter VI, plate VII; Conway and Sloane, Sphere
Packings, Lattices and Groups, chapter 20 for decoding.
"""

from functools import cache
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from constellation.records import FloatArray

NUM_ROOTS = 240
COXETER_NUMBER = 30
_NUM_INTEGER_ROOTS = 112


@cache
def roots() -> FloatArray:
    """Return all roots in the order of this file's docstring, shape (240, 8), read-only."""
    integer = [
        [(place == i) * sign_i + (place == j) * sign_j for place in range(8)]
        for i, j in combinations(range(8), 2)
        for sign_i, sign_j in product((1, -1), repeat=2)
    ]
    half = [
        [sign / 2 for sign in (*signs, int(np.prod(signs)))] for signs in product((1, -1), repeat=7)
    ]
    return _frozen(np.array(integer + half, dtype=np.float64))


@cache
def simple_roots() -> FloatArray:
    """Return the eight simple roots in Bourbaki order, shape (8, 8), read-only.

    The Dynkin diagram is the chain 1-3-4-5-6-7-8 with 2 attached to 4 (numbered from 1).
    """
    first = [0.5, -0.5, -0.5, -0.5, -0.5, -0.5, -0.5, 0.5]
    second = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    steps = [[float(place == k + 1) - float(place == k) for place in range(8)] for k in range(6)]
    return _frozen(np.array([first, second, *steps]))


def cartan_matrix() -> FloatArray:
    """Return the inner products of the simple roots: integers, shape (8, 8), determinant 1."""
    return simple_roots() @ simple_roots().T


def reflect(v: FloatArray, root: FloatArray) -> FloatArray:
    """Return `v` reflected in the hyperplane orthogonal to `root`.

        v - 2 <v, r> / <r, r> r

    Args:
        v: Vectors, shape (..., 8).
        root: Vectors that are not 0, shape (..., 8), broadcast against `v`.

    Returns:
        Shape (..., 8); exact when both are roots.
    """
    share = 2 * np.sum(v * root, axis=-1) / np.sum(root * root, axis=-1)
    reflected: FloatArray = v - share[..., None] * root
    return reflected


def nearest_root(v_N8: FloatArray) -> NDArray[np.intp]:
    """Return the index of the root nearest to each vector, in closed form.

    All roots are equally long, so the nearest has the largest inner product. Among integer roots
    that is the sum of the two largest |x_i|; among half-integer roots half the L1 norm, less the
    smallest |x_i| when the signs of x have the wrong parity and one must be flipped.

    Args:
        v_N8: Vectors, shape (N, 8).

    Returns:
        Indices into `roots`, shape (N,). Of equally near roots any one is returned.
    """
    size_N8 = np.abs(v_N8)
    minus_N8 = v_N8 < 0
    order_N8 = np.argsort(size_N8, axis=1)
    rows_N = np.arange(v_N8.shape[0])
    smallest_N, pair_N2 = order_N8[:, 0], np.sort(order_N8[:, 6:], axis=1)
    odd_N = minus_N8.sum(axis=1) % 2 == 1
    integer_score_N = size_N8[rows_N[:, None], pair_N2].sum(axis=1)
    half_score_N = size_N8.sum(axis=1) / 2 - np.where(odd_N, size_N8[rows_N, smallest_N], 0)
    repaired_N8 = minus_N8.copy()
    repaired_N8[rows_N, smallest_N] ^= odd_N
    is_integer_N = integer_score_N >= half_score_N
    return np.where(is_integer_N, _integer_index(pair_N2, minus_N8), _half_index(repaired_N8))


def _integer_index(pair_N2: NDArray[np.intp], minus_N8: NDArray[np.bool_]) -> NDArray[np.intp]:
    i_N, j_N = pair_N2[:, 0], pair_N2[:, 1]
    minus_N2 = np.take_along_axis(minus_N8, pair_N2, axis=1)
    pairs_before_N = i_N * (15 - i_N) // 2 + (j_N - i_N - 1)
    index: NDArray[np.intp] = 4 * pairs_before_N + 2 * minus_N2[:, 0] + minus_N2[:, 1]
    return index


def _half_index(minus_N8: NDArray[np.bool_]) -> NDArray[np.intp]:
    index: NDArray[np.intp] = _NUM_INTEGER_ROOTS + minus_N8[:, :7] @ (1 << np.arange(7)[::-1])
    return index


@cache
def coxeter_projection() -> FloatArray:
    """Return the roots projected on the Coxeter plane, shape (240, 2), for pictures; read-only.

    The product c of the simple reflections turns this plane by 2 pi / 30. The projector on the
    plane is (2/30) sum_k cos(2 pi k / 30) c^k. The roots fall on eight rings of 30; the first
    axis points to the projection of the first simple root.
    """
    turn = 2 * np.pi / COXETER_NUMBER
    element = np.eye(8)
    for root in simple_roots():
        element = reflect(element, root)
    powers = [np.linalg.matrix_power(element, k) for k in range(COXETER_NUMBER)]
    projector = sum(np.cos(turn * k) * power for k, power in enumerate(powers))
    # Rows are vectors, so `v @ element` applies the reflections in turn.
    first = simple_roots()[0] @ np.asarray(projector)
    first = first / np.linalg.norm(first)
    second = (first @ element - np.cos(turn) * first) / np.sin(turn)
    return _frozen(roots() @ np.stack([first, second], axis=1))


def _frozen(array: FloatArray) -> FloatArray:
    array.flags.writeable = False
    return array
