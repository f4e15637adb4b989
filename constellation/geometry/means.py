"""Means of simplex points: Hellinger mean, exact sums from which it is computed, Karcher mean.

The Hellinger mean (average of square roots, renormalised) defines a kernel's basin, because sums of
square roots can be kept per corpus, so that a corpus can be removed exactly. The Karcher mean
(least sum of squared distances) is iterative; it is reported for comparison and not stored.
Letters: K outcomes, N points.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from constellation.errors import InvalidBasin
from constellation.geometry.arrays import ArrayT, namespace, norm
from constellation.geometry.maps import exp_map, log_map
from constellation.geometry.simplex import from_root
from constellation.records import FloatArray


def hellinger_mean(p_NK: ArrayT, weights_N: ArrayT | None = None) -> ArrayT:
    """Return the Hellinger mean: the average of square roots, squared and renormalised.

    Args:
        p_NK: Simplex points, shape (..., N, K), N >= 1.
        weights_N: Weights >= 0, not all 0, shape (..., N); None means equal.

    Returns:
        Simplex points, shape (..., K).
    """
    xp = namespace(p_NK)
    root_NK = xp.sqrt(p_NK)
    weighted = root_NK if weights_N is None else root_NK * weights_N[..., None]
    mean: ArrayT = from_root(xp.sum(weighted, axis=-2))
    return mean


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HellingerSum:
    """Sum of square roots of one corpus's basins, from which a kernel's basin is computed."""

    root_sum_K: FloatArray
    """Sum of the square roots of the basins of the corpus's texts, float64, read-only by
    convention."""

    count: int
    """Number of summed texts, >= 0."""

    def __post_init__(self) -> None:
        sums = self.root_sum_K
        if sums.ndim != 1 or sums.dtype != np.float64:
            raise InvalidBasin(f"a sum of roots is {sums.dtype} {sums.shape}; give float64 (K,)")
        if not (np.isfinite(sums).all() and (sums >= 0).all()):
            raise InvalidBasin("a sum of roots has an entry that is negative or not finite")
        if self.count < 0:
            raise InvalidBasin(f"a sum of roots has count {self.count}; give 0 or more")

    def mean(self) -> FloatArray:
        """Return the Hellinger mean of the summed texts, shape (K,).

        Raises:
            InvalidBasin: No text was summed.
        """
        if self.count == 0:
            raise InvalidBasin("a sum of 0 texts has no mean; add a corpus with text first")
        mean: FloatArray = from_root(self.root_sum_K)
        return mean


def sum_hellinger(p_NK: FloatArray) -> HellingerSum:
    """Sum the square roots of one corpus's basins in float64.

    Args:
        p_NK: Simplex points, shape (N, K), N >= 0.
    """
    roots_NK = np.sqrt(np.asarray(p_NK, dtype=np.float64))
    return HellingerSum(root_sum_K=roots_NK.sum(axis=0), count=roots_NK.shape[0])


def add_hellinger_sums(records: Iterable[HellingerSum]) -> HellingerSum:
    """Add up the sums of several corpora, correctly rounded.

    Each entry is summed exactly and rounded once, so the result depends on the set of sums and not
    on their order: without a corpus the result is bitwise equal to never having added that corpus.
    (Subtracting the corpus from the total would not be.)

    Args:
        records: At least one sum, all of one K.

    Raises:
        InvalidBasin: There is no sum, or the sums differ in K.
    """
    kept = tuple(records)
    if len({record.root_sum_K.shape for record in kept}) != 1:
        shapes = sorted({record.root_sum_K.shape for record in kept})
        raise InvalidBasin(f"cannot add sums of shapes {shapes}; give one or more of one shape")
    columns = zip(*(record.root_sum_K.tolist() for record in kept), strict=True)
    total = np.array([math.fsum(column) for column in columns])
    return HellingerSum(root_sum_K=total, count=sum(record.count for record in kept))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KarcherReport:
    """A Karcher mean, and how well the iteration converged."""

    mean: Any
    """The Karcher mean, a simplex point, shape (K,), of the array type that was given."""

    iterations: int
    """Number of steps, >= 0."""

    converged: bool
    """True when `residual` is at most the requested tolerance."""

    residual: float
    """Radians; length of the mean of the logarithms at `mean`, which is 0 at the true mean."""


def karcher_mean(
    p_NK: ArrayT,
    weights_N: ArrayT | None = None,
    *,
    tolerance: float | None = None,
    iterations_max: int = 100,
) -> KarcherReport:
    """Find the Karcher mean: the point with the least weighted sum of squared distances.

    Starts at the Hellinger mean and steps by the mean of the logs. The simplex is a convex part
    of the sphere smaller than a hemisphere, so the mean exists and is unique.

    Args:
        p_NK: Simplex points, shape (N, K), N >= 1.
        weights_N: Weights >= 0, not all 0, shape (N,); None means equal.
        tolerance: Residual in radians at which to stop; None means 1000 rounding units of the
            dtype.
        iterations_max: Most steps; after them the report has `converged=False`.

    Returns:
        The mean with its iterations and residual.
    """
    xp = namespace(p_NK)
    limit = 1000 * float(xp.finfo(p_NK.dtype).eps) if tolerance is None else tolerance
    raw_N = xp.ones_like(p_NK[:, 0]) if weights_N is None else weights_N
    share_N1 = (raw_N / xp.sum(raw_N))[:, None]
    mean_K = hellinger_mean(p_NK, raw_N)
    iterations, step_K = 0, _mean_log(mean_K, p_NK, share_N1)
    while (residual := float(norm(step_K))) > limit and iterations < iterations_max:
        mean_K = exp_map(mean_K, step_K)
        iterations, step_K = iterations + 1, _mean_log(mean_K, p_NK, share_N1)
    return KarcherReport(
        mean=mean_K, iterations=iterations, converged=residual <= limit, residual=residual
    )


def _mean_log(mean_K: ArrayT, p_NK: ArrayT, share_N1: ArrayT) -> ArrayT:
    step_K: ArrayT = namespace(p_NK).sum(share_N1 * log_map(mean_K[None], p_NK), axis=0)
    return step_K
