"""Nearest mean basin by Euclidean distance: the same basins as ours, without their geometry."""

import numpy as np


class EuclideanCentroid:
    """Arithmetic mean per domain, least Euclidean distance."""

    def __init__(self, basins_NK: np.ndarray, own_N: np.ndarray, *, num_domains: int) -> None:
        self.centre_MK = np.stack([basins_NK[own_N == m].mean(axis=0) for m in range(num_domains)])

    def predict(self, basins_NK: np.ndarray) -> np.ndarray:
        return ((basins_NK[:, None] - self.centre_MK[None]) ** 2).sum(axis=2).argmin(axis=1)
