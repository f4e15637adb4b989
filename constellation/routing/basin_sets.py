"""Find the several basins of a kernel in its own texts.

A broad domain is a set of points: banking is transfers, and cards, and interest. Its texts are
grouped by their bearings, and each group has a basin, part of the way from the mean of all texts
to the group's own: a group's mean alone draws texts of other kernels that resemble what the group
shares with them. How many groups there are is asked of the kernel's own texts: each further group
must bring texts that were held back nearer to their basin. Nothing random, nothing of other
kernels, and the order of the texts changes no bit.

Shapes: K outcomes, N texts, B basins, R texts that the search reads.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from constellation.geometry.bearings import angle, bearing, has_bearing
from constellation.geometry.grouping import group_centres, nearest_centre
from constellation.geometry.means import hellinger_mean
from constellation.records import FloatArray

TEXTS_PER_BASIN: Final = 64
"""Texts of a kernel for each of its basins, at least. With 16, kernels of a few dozen long
documents had two or three basins, their neighbours one, and routes of long texts were worse."""

TEXTS_MAX: Final = 512
"""Texts among which groups are sought; of more, so many are taken evenly."""

TOWARDS_MEAN: Final = 0.6
"""How far a basin lies from its group's mean towards the mean of all texts, in square roots: 0 is
the group's mean, 1 that of all. Chosen on development text (docs/log.md), as the next one."""

GAIN_MIN: Final = 0.01
"""Share by which a further basin must bring held-back texts nearer, for its keep."""

FOLDS: Final = 4
"""Parts of the texts, each held back once."""


def find_basins(basins_NK: FloatArray, *, background_K: FloatArray, basins_max: int) -> FloatArray:
    """Return the basins of a kernel, that of its largest group of texts first.

    Args:
        basins_NK: Basins of its texts, simplex points, N >= 1.
        background_K: The table's pi, shape (K,).
        basins_max: Most basins, at least 1.

    Returns:
        Simplex points, shape (B, K), each with a bearing. One, the Hellinger mean of all texts,
        where the texts are few or alike.
    """
    texts_NK = basins_NK[np.lexsort(basins_NK.T[::-1])]
    told_NK = texts_NK[has_bearing(bearing(texts_NK, background_K))]
    read_RK = told_NK[_evenly(len(told_NK), TEXTS_MAX)]
    most = min(basins_max, len(told_NK) // TEXTS_PER_BASIN)
    count = _num_basins(read_RK, background_K, most)
    if count > 1:
        *_, centres_BK = group_centres(bearing(read_RK, background_K), count)
        found_BK = _basins(told_NK, background_K, centres_BK)
        if has_bearing(bearing(found_BK, background_K)).all():
            return found_BK
    one_K: FloatArray = hellinger_mean(texts_NK)
    return one_K[None]


def _num_basins(read_RK: FloatArray, background_K: FloatArray, most: int) -> int:
    """Return the number of basins with the least penalised angle of texts that were held back.

    The penalised angle of a number B is ln(mean angle) + GAIN_MIN B.
    """
    if most < 2:
        return 1
    unit_RK = bearing(read_RK, background_K)
    fold_R = np.arange(len(read_RK)) % FOLDS
    angle_B = np.zeros(most)
    for fold in range(FOLDS):
        own_RK, kept_R = unit_RK[fold_R == fold], fold_R != fold
        for place, centres_BK in enumerate(group_centres(unit_RK[kept_R], most)):
            found_BK = bearing(_basins(read_RK[kept_R], background_K, centres_BK), background_K)
            nearest_R = nearest_centre(own_RK, found_BK)
            angle_B[place] += float(angle(own_RK, found_BK[nearest_R]).sum())
    with np.errstate(divide="ignore"):  # texts that are all alike lie at their basin: one is enough
        penalised_B = np.log(angle_B) + GAIN_MIN * np.arange(1, most + 1)
    return int(penalised_B.argmin()) + 1


def _basins(texts_NK: FloatArray, background_K: FloatArray, centres_BK: FloatArray) -> FloatArray:
    """Return the basin of each group that has a text, that of the largest group first."""
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
    """Return at most so many places in [0, count), evenly spread."""
    return np.unique(np.linspace(0, max(0, count - 1), min(count, most)).astype(np.intp))
