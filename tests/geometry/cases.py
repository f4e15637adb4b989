"""Points, kinds of array and tolerances that the geometry tests share."""

from typing import Any

import mpmath
import numpy as np
import torch
from hypothesis import strategies as st

ABSOLUTE = {"float64": 1e-12, "float32": 1e-5}
"""Largest error accepted per dtype, in radians or in units of probability."""

KINDS = [(library, dtype) for library in ("numpy", "torch") for dtype in ("float64", "float32")]

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 64)


def simplex(seed: int, num_points: int, num_outcomes: int = 64) -> np.ndarray:
    """Draw points from flat to spiky, some with zero entries, shape (num_points, num_outcomes)."""
    generator = np.random.default_rng(seed)
    points = []
    for _ in range(num_points):
        raw = generator.gamma(generator.choice([0.1, 0.5, 2.0]), size=num_outcomes)
        raw[generator.random(num_outcomes) < generator.choice([0.0, 0.3])] = 0
        raw[generator.integers(num_outcomes)] += 1e-3  # never all zero
        points.append(raw / raw.sum())
    return np.array(points)


def as_kind(library: str, dtype: str, *arrays: np.ndarray) -> list[Any]:
    """Return the arrays as numpy or torch arrays of a dtype, summing to 1 in that dtype."""
    cast = [array.astype(dtype) for array in arrays]
    return [torch.from_numpy(array) for array in cast] if library == "torch" else cast


def largest(errors: Any) -> float:
    return float(np.max(np.abs(np.asarray(errors))))


def exact_distance(p_K: np.ndarray, q_K: np.ndarray) -> float:
    """Return the distance by the arccosine at 50 digits, of the points divided by their sums."""
    with mpmath.workdps(50):
        p, q = ([mpmath.mpf(float(x)) for x in point] for point in (p_K, q_K))
        overlap = mpmath.fsum(mpmath.sqrt(a * b) for a, b in zip(p, q, strict=True))
        cosine = overlap / mpmath.sqrt(mpmath.fsum(p) * mpmath.fsum(q))
        return float(2 * mpmath.acos(min(cosine, mpmath.mpf(1))))


def apart(seed: int, separation: float, num_outcomes: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Return two points about `separation` radians apart, made without the code under test."""
    generator = np.random.default_rng(seed)
    root = np.sqrt(generator.dirichlet(np.ones(num_outcomes)))
    tangent = generator.normal(size=num_outcomes) * root  # keeps small entries positive
    tangent -= root * (root @ tangent)
    tangent /= np.linalg.norm(tangent)
    other = np.cos(separation / 2) * root + np.sin(separation / 2) * tangent
    return root**2, other**2 / np.sum(other**2)
