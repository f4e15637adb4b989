"""Cluster unit vectors by cosine similarity: deterministic global k-means on the sphere.

Source: Likas, Vlassis and Verbeek (2003), the fast global k-means algorithm, here with unit vectors
and cosines.
Letters: K coordinates, R vectors, B groups.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from constellation.geometry.arrays import norm
from constellation.records import FloatArray

_ROUNDS_MAX: Final = 50


def cluster_centres(unit_RK: FloatArray, most: int) -> Iterator[FloatArray]:
    """Yield the cluster centres for 1, 2, ..., `most` clusters; each result extends the previous.

    A further centre is initialised at the vector that would raise the sum of the cosines to the
    nearest centres most.

    Args:
        unit_RK: Unit vectors, float64, R >= 1; memory is of the order of R^2.
        most: Clusters of the last result, at least 1.

    Yields:
        Unit vectors, shape (B, K). A cluster may be empty when vectors are equal.
    """
    cosine_RR = unit_RK @ unit_RK.T
    centres_BK = unit_RK[:0]
    for _ in range(most):
        best_R = (unit_RK @ centres_BK.T).max(axis=1, initial=-1.0)
        gain_R = np.maximum(cosine_RR - best_R[:, None], 0).sum(axis=0)
        centres_BK = _converged(unit_RK, np.vstack([centres_BK, unit_RK[gain_R.argmax()]]))
        yield centres_BK


def nearest_centre(unit_RK: FloatArray, centres_BK: FloatArray) -> NDArray[np.intp]:
    """Return the index of the centre nearest to each unit vector, the first of equals; shape (R,).

    Centres nearer to each other than 1e-8 rad may be confused.
    """
    index_R: NDArray[np.intp] = (unit_RK @ centres_BK.T).argmax(axis=1)
    return index_R


def _converged(unit_RK: FloatArray, centres_BK: FloatArray) -> FloatArray:
    """Repeat assigning vectors to centres and centres to means, until no vector changes cluster."""
    group_R: NDArray[np.intp] | None = None
    for _ in range(_ROUNDS_MAX):
        following_R = nearest_centre(unit_RK, centres_BK)
        if group_R is not None and np.array_equal(following_R, group_R):
            break
        group_R = following_R
        own_BR = group_R == np.arange(len(centres_BK))[:, None]
        sum_BK = own_BR.astype(np.float64) @ unit_RK
        length_B1 = norm(sum_BK)[:, None]
        present_B1 = length_B1 > 0  # the centre of an empty cluster stays
        centres_BK = np.where(present_B1, sum_BK / np.where(present_B1, length_B1, 1), centres_BK)
    return centres_BK
