"""tf-idf centroid by cosine over the full vocabulary, with the settings that text retrieval uses.

Tuned on the dev split: sublinear term frequency or plain, and what a centroid averages (pieces of
64, 128 or 512 tokens, or whole documents).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from benchmarks.baselines.counts import chunks, count_matrix
from constellation.records import TokenArray

PIECES_MAX = 20_000
GRID = [(tokens, sublinear) for tokens in (64, 128, 512, None) for sublinear in (False, True)]


@dataclass(frozen=True, slots=True)
class Weighting:
    """tf-idf with smoothed idf and rows of length 1, as scikit-learn documents it."""

    idf_V: np.ndarray
    sublinear: bool

    @classmethod
    def fit(cls, counts: sparse.csr_array, *, sublinear: bool) -> "Weighting":
        present_V = np.bincount(counts.indices, minlength=counts.shape[1])
        return cls(np.log((1 + counts.shape[0]) / (1 + present_V)) + 1, sublinear)

    def apply(self, counts: sparse.csr_array) -> sparse.csr_array:
        weighted = counts.copy()
        if self.sublinear:
            weighted.data = 1 + np.log(weighted.data)
        weighted.data *= self.idf_V[weighted.indices]
        squares = np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel()
        lengths = np.sqrt(np.maximum(squares, 1e-30))
        weighted.data /= np.repeat(lengths, np.diff(weighted.indptr))
        return weighted


class TfidfCentroid:
    """Nearest mean tf-idf vector by cosine."""

    def __init__(
        self,
        documents: Sequence[TokenArray],
        own_N: np.ndarray,
        *,
        vocab_size: int,
        num_domains: int,
        tokens: int | None,
        sublinear: bool,
    ) -> None:
        pieces, owners = chunks(documents, tokens, PIECES_MAX)
        counts = count_matrix(pieces, vocab_size)
        self.vocab_size = vocab_size
        self.weighting = Weighting.fit(counts, sublinear=sublinear)
        rows = self.weighting.apply(counts)
        domain_N = own_N[owners]
        centres = [
            np.asarray(rows[domain_N == domain].mean(axis=0)).ravel()
            for domain in range(num_domains)
        ]
        self.centre_MV = np.stack(centres)
        norms = np.linalg.norm(self.centre_MV, axis=1, keepdims=True)
        self.centre_MV /= np.maximum(norms, 1e-30)

    def predict(self, texts: Sequence[TokenArray]) -> np.ndarray:
        rows = self.weighting.apply(count_matrix(texts, self.vocab_size))
        return np.asarray(rows @ self.centre_MV.T).argmax(axis=1)
