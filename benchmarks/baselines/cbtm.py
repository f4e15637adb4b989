"""The routing rule of c-BTM: tf-idf, SVD to 100 dimensions, nearest centre.

The published system clusters without labels; here the domains are known, so centres are the means
of the domains, or of several clusters inside each, by balanced k-means. Tuned on the dev split:
sublinear or plain term frequency, length of the pieces, centres per domain, and scaling.

Source: "Scaling Expert Language Models with Unsupervised Domain Discovery" (2023), section 2.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse.linalg import svds

from benchmarks.baselines.counts import chunks, count_matrix
from benchmarks.baselines.tfidf import Weighting
from constellation.records import TokenArray

DIMENSIONS = 100
PIECES_MAX = 5_000
GRID = [(tokens, sublinear) for tokens in (128, 512, None) for sublinear in (False, True)]
VARIANTS = [(centres, unit) for centres in (1, 4) for unit in (False, True)]


class Embedding:
    """tf-idf and SVD; the costly part, shared by the variants of the centres."""

    def __init__(
        self,
        documents: Sequence[TokenArray],
        own_N: np.ndarray,
        *,
        vocab_size: int,
        tokens: int | None,
        sublinear: bool,
        seed: int,
    ) -> None:
        pieces, owners = chunks(documents, tokens, PIECES_MAX)
        counts = count_matrix(pieces, vocab_size)
        self.vocab_size = vocab_size
        self.weighting = Weighting.fit(counts, sublinear=sublinear)
        rows = self.weighting.apply(counts)
        rank = min(DIMENSIONS, min(rows.shape) - 1)
        start = np.random.default_rng(seed).standard_normal(min(rows.shape))
        _, _, self.basis_DV = svds(rows, k=rank, v0=start)
        self.points_ND = np.asarray(rows @ self.basis_DV.T)
        self.domain_N = own_N[owners]

    def embed(self, texts: Sequence[TokenArray]) -> np.ndarray:
        rows = self.weighting.apply(count_matrix(texts, self.vocab_size))
        return np.asarray(rows @ self.basis_DV.T)


class Cbtm:
    """Nearest centre in the embedding by Euclidean distance."""

    def __init__(
        self, embedding: Embedding, *, num_domains: int, centres: int, unit: bool, seed: int
    ) -> None:
        self.embedding, self.unit = embedding, unit
        points_ND = self._scaled(embedding.points_ND)
        rng = np.random.default_rng(seed)
        parts, domains = [], []
        for domain in range(num_domains):
            own = points_ND[embedding.domain_N == domain]
            found = _balanced_centres(own, min(centres, len(own)), rng)
            parts.append(found)
            domains += [domain] * len(found)
        self.centre_MD, self.domain_M = np.concatenate(parts), np.array(domains)

    def predict(self, texts: Sequence[TokenArray]) -> np.ndarray:
        points = self._scaled(self.embedding.embed(texts))
        scores = points @ self.centre_MD.T - (self.centre_MD**2).sum(axis=1) / 2
        return self.domain_M[scores.argmax(axis=1)]

    def _scaled(self, points_ND: np.ndarray) -> np.ndarray:
        if not self.unit:
            return points_ND
        return points_ND / np.maximum(np.linalg.norm(points_ND, axis=1, keepdims=True), 1e-30)


def _balanced_centres(points_ND: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Balanced k-means: points take places in order of what a second choice would cost them."""
    if count == 1:
        return points_ND.mean(axis=0, keepdims=True)
    centres = points_ND[rng.choice(len(points_ND), count, replace=False)]
    capacity = int(np.ceil(len(points_ND) / count))
    for _ in range(10):
        squares = ((points_ND[:, None] - centres[None]) ** 2).sum(axis=2)
        two = np.partition(squares, 1, axis=1)
        order, room = np.argsort(two[:, 0] - two[:, 1]), np.full(count, capacity)
        labels = np.empty(len(points_ND), dtype=np.intp)
        for point in order:
            labels[point] = np.where(room > 0, squares[point], np.inf).argmin()
            room[labels[point]] -= 1
        means = [points_ND[labels == k].mean(axis=0) for k in range(count) if (labels == k).any()]
        centres = np.stack(means)
        if len(centres) < count:
            return centres
    return centres
