"""The 240 roots of the E8 lattice: reflections, and the projection on the Coxeter plane.

A root is a vector of R^8 of squared length 2. The order of `roots` is part of every artifact that
stores a seat, and must not change:

* 0 to 111: (+-1, +-1, 0^6), by the pair i < j of places in lexicographic order, then by signs
  with plus before minus: index = 4 pair(i, j) + 2 [minus at i] + [minus at j];
* 112 to 239: (+-1/2)^8 with an even number of minus signs, by the signs of the first seven places
  read as a binary number, minus = 1, place 0 first; the last sign follows from the parity.

All entries are multiples of 1/2, so inner products of roots are exact.

Source: Bourbaki, Lie Groups and Lie Algebras, chapter VI, plate VII.
"""

from functools import cache
from itertools import combinations, product

import numpy as np

from constellation.records import FloatArray

NUM_ROOTS = 240
COXETER_NUMBER = 30


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
