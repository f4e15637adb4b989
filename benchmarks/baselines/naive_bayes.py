"""Multinomial naive Bayes on the full vocabulary, domains equally likely: the unigram limit.

Tuned on the dev split: additive smoothing from 0.001 to 1.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.baselines.counts import count_matrix
from constellation.records import TokenArray

GRID = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


class NaiveBayes:
    """The domain with the greatest product of smoothed token probabilities."""

    def __init__(
        self,
        documents: Sequence[TokenArray],
        own_N: np.ndarray,
        *,
        vocab_size: int,
        num_domains: int,
        smoothing: float,
    ) -> None:
        counts = count_matrix(documents, vocab_size)
        total_MV = np.stack(
            [np.asarray(counts[own_N == m].sum(axis=0)).ravel() for m in range(num_domains)]
        )
        smoothed = total_MV + smoothing
        self.log_MV = np.log(smoothed / smoothed.sum(axis=1, keepdims=True))
        self.vocab_size = vocab_size

    def predict(self, texts: Sequence[TokenArray]) -> np.ndarray:
        return np.asarray(count_matrix(texts, self.vocab_size) @ self.log_MV.T).argmax(axis=1)
