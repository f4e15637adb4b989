"""Find the basins (simplex points) of one kernel (model): one mean, or several for a broad domain.

A broad domain is a set of points: banking is transfers, cards and interest. The kernel's texts are
clustered by their bearings (directions from the background), and each cluster gives a basin between
the cluster's mean and the mean of all texts: a cluster's own mean attracts texts of other kernels
that resemble what the cluster shares with them. The number of clusters is found by cross-validation
on the kernel's own texts: each further cluster must bring held-back texts nearer to their basin.
The search uses no random numbers and no other kernels, and the order of the texts changes no bit.

Shapes: K outcomes, N texts, B basins, R texts that the search uses.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from constellation.geometry.bearings import angle, bearing, has_bearing
from constellation.geometry.means import hellinger_mean
from constellation.geometry.vector_clusters import cluster_centres, nearest_centre
from constellation.records import FloatArray

TEXTS_PER_BASIN: Final = 64
"""Least number of a kernel's texts per basin. With 16, kernels of a few dozen long documents had
two or three basins, their neighbours one, and routes of long texts were worse."""

TEXTS_MAX: Final = 512
"""Most texts in the search for clusters; of more texts, this many are taken at even steps."""

TOWARDS_MEAN: Final = 0.6
"""Position of a basin between its cluster's mean (0) and the mean of all texts (1), in square
roots. Chosen on development text (docs/log.md), like `GAIN_MIN`."""

GAIN_MIN: Final = 0.01
"""Relative reduction of the held-back texts' angle that each further basin must bring."""

FOLDS: Final = 4
"""Number of parts of the texts in cross-validation; each part is held back once."""


def find_basins(basins_NK: FloatArray, *, background_K: FloatArray, basins_max: int) -> FloatArray:
    """Return the basins of a kernel, the basin of its largest cluster of texts first.

    Args:
        basins_NK: Basins of the kernel's texts, simplex points, N >= 1.
        background_K: The table's pi, shape (K,).
        basins_max: Most basins, at least 1.

    Returns:
        Simplex points, shape (B, K), each with a bearing. For few or similar texts one point, the
        Hellinger mean of all texts.
    """
    texts_NK = basins_NK[np.lexsort(basins_NK.T[::-1])]
    told_NK = texts_NK[has_bearing(bearing(texts_NK, background_K))]
    read_RK = told_NK[_evenly(len(told_NK), TEXTS_MAX)]
    most = min(basins_max, len(told_NK) // TEXTS_PER_BASIN)
    count = _num_basins(read_RK, background_K, most)
    if count > 1:
        *_, centres_BK = cluster_centres(bearing(read_RK, background_K), count)
        found_BK = _basins(told_NK, background_K, centres_BK)
        if has_bearing(bearing(found_BK, background_K)).all():
            return found_BK
    one_K: FloatArray = hellinger_mean(texts_NK)
    return one_K[None]


def _num_basins(read_RK: FloatArray, background_K: FloatArray, most: int) -> int:
    """Return the number of basins with the least penalised angle of held-back texts.

    The penalised angle of a number B is ln(mean angle) + GAIN_MIN B.
    """
    if most < 2:
        return 1
    unit_RK = bearing(read_RK, background_K)
    fold_R = np.arange(len(read_RK)) % FOLDS
    angle_B = np.zeros(most)
    for fold in range(FOLDS):
        own_RK, kept_R = unit_RK[fold_R == fold], fold_R != fold
        for place, centres_BK in enumerate(cluster_centres(unit_RK[kept_R], most)):
            found_BK = bearing(_basins(read_RK[kept_R], background_K, centres_BK), background_K)
            nearest_R = nearest_centre(own_RK, found_BK)
            angle_B[place] += float(angle(own_RK, found_BK[nearest_R]).sum())
    with np.errstate(
        divide="ignore"
    ):  # equal texts have angle 0 to one basin: the logarithm is -inf
        penalised_B = np.log(angle_B) + GAIN_MIN * np.arange(1, most + 1)
    return int(penalised_B.argmin()) + 1


def _basins(texts_NK: FloatArray, background_K: FloatArray, centres_BK: FloatArray) -> FloatArray:
    """Return the basin of each non-empty cluster, that of the largest cluster first."""
    group_N = nearest_centre(bearing(texts_NK, background_K), centres_BK)
    groups, num_texts = np.unique(group_N, return_counts=True)
    mean_K = hellinger_mean(texts_NK)
    pair_2 = np.array([1 - TOWARDS_MEAN, TOWARDS_MEAN])
    found = [
        hellinger_mean(np.stack([hellinger_mean(texts_NK[group_N == group]), mean_K]), pair_2)
        for group in groups[np.argsort(-num_texts, kind="stable")]
    ]
    return np.stack(found)


def _evenly(count: int, most: int) -> NDArray[np.intp]:
    """Return at most `most` indices in [0, count), at even steps."""
    return np.unique(np.linspace(0, max(0, count - 1), min(count, most)).astype(np.intp))
