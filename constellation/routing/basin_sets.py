"""Find the several basins of a kernel in its own texts.

A broad domain is a set of points: banking is transfers, and cards, and interest. Its texts are
grouped by their bearings, and each group's Hellinger mean is a basin. How many groups there are is
asked of the kernel's own texts: each further group must bring texts that were held back nearer to
their group by a share that pays for it. Nothing random, nothing of other kernels, and the order of
the texts changes no bit.

Source of the search: Likas, Vlassis and Verbeek (2003), the fast global k-means algorithm, here
with unit vectors and cosines.

Shapes: K outcomes, N texts, B basins, R texts that the search reads.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from constellation.geometry.bearings import angle, bearing, has_bearing, mean_bearing
from constellation.geometry.means import hellinger_mean
from constellation.records import FloatArray

TEXTS_PER_BASIN: Final = 16
"""Texts of a kernel for each of its basins, at least: fewer say little about where one lies."""

TEXTS_MAX: Final = 1_024
"""Texts among which groups are sought; of more, so many are taken evenly."""

GAIN_MIN: Final = 0.02
"""Share by which a further basin must bring held-back texts nearer, for its keep: radii shrink by
it, and each basin costs a row of every decision. Chosen on development text (docs/log.md)."""

FOLDS: Final = 4
"""Parts of the texts, each held back once."""

_ROUNDS_MAX: Final = 50


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
    unit_NK = bearing(texts_NK, background_K)
    present_N = has_bearing(unit_NK)
    unit_NK, texts_NK = unit_NK[present_N], texts_NK[present_N]
    read_RK = unit_NK[_evenly(len(unit_NK), TEXTS_MAX)]
    count = _num_basins(read_RK, min(basins_max, len(unit_NK) // TEXTS_PER_BASIN))
    if count > 1:
        *_, centres_BK = _centres(read_RK, count)
        found_BK = _means(texts_NK, (unit_NK @ centres_BK.T).argmax(axis=1))
        if has_bearing(bearing(found_BK, background_K)).all():
            return found_BK
    one_K: FloatArray = hellinger_mean(basins_NK[np.lexsort(basins_NK.T[::-1])])
    return one_K[None]


def _num_basins(unit_RK: FloatArray, most: int) -> int:
    """Return the number of groups with the least penalised angle of texts that were held back.

    The penalised angle of a number B is ln(mean angle) + GAIN_MIN B.
    """
    if most < 2:
        return 1
    fold_R = np.arange(len(unit_RK)) % FOLDS
    angle_B = np.zeros(most)
    for fold in range(FOLDS):
        own_RK = unit_RK[fold_R == fold]
        for place, centres_BK in enumerate(_centres(unit_RK[fold_R != fold], most)):
            nearest_R = (own_RK @ centres_BK.T).argmax(axis=1)
            angle_B[place] += float(angle(own_RK, centres_BK[nearest_R]).sum())
    with np.errstate(divide="ignore"):  # texts that are all alike lie at their basin: one is enough
        penalised_B = np.log(angle_B) + GAIN_MIN * np.arange(1, most + 1)
    return int(penalised_B.argmin()) + 1


def _centres(unit_RK: FloatArray, most: int) -> Iterator[FloatArray]:
    """Yield the centres of 1, 2, ..., `most` groups; each number begins with those before.

    A further centre begins at the text that would bring all texts nearest to their centres.
    """
    cosine_RR = unit_RK @ unit_RK.T
    centres_BK = unit_RK[:0]
    for _ in range(most):
        best_R = (unit_RK @ centres_BK.T).max(axis=1, initial=-1.0)
        gain_R = np.maximum(cosine_RR - best_R[:, None], 0).sum(axis=0)
        centres_BK = _settled(unit_RK, np.vstack([centres_BK, unit_RK[gain_R.argmax()]]))
        yield centres_BK


def _settled(unit_RK: FloatArray, centres_BK: FloatArray) -> FloatArray:
    """Return the centres after texts have gone to the nearest, and centres to their texts' mean."""
    group_R: NDArray[np.intp] | None = None
    for _ in range(_ROUNDS_MAX):
        following_R = (unit_RK @ centres_BK.T).argmax(axis=1)
        if group_R is not None and np.array_equal(following_R, group_R):
            break
        group_R = following_R
        centres_BK = centres_BK.copy()
        for group in np.unique(group_R):  # an empty group stays where it was
            centre_K = mean_bearing(unit_RK[group_R == group])
            if centre_K.any():
                centres_BK[group] = centre_K
    return centres_BK


def _means(texts_NK: FloatArray, group_N: NDArray[np.intp]) -> FloatArray:
    """Return the Hellinger mean of each group, that of the largest group first."""
    groups, num_texts = np.unique(group_N, return_counts=True)
    order = np.argsort(-num_texts, kind="stable")
    return np.stack([hellinger_mean(texts_NK[group_N == group]) for group in groups[order]])


def _evenly(count: int, most: int) -> NDArray[np.intp]:
    """Return at most so many places in [0, count), evenly spread."""
    return np.unique(np.linspace(0, max(0, count - 1), min(count, most)).astype(np.intp))
