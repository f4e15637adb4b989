"""Compute a text's basin (simplex point): the posterior over K outcomes given its tokens, by EM.

A basin is a text's point on the probability simplex. The computation is called fold-in: the token
coordinates are frozen, and only the text's mixture of outcomes is estimated. numpy only, no torch,
no fitting. Every routed query needs a basin, so 64 tokens take about 50 microseconds.

Shapes: V tokens of the vocabulary, K outcomes, T tokens of one text, U distinct tokens of the text,
M texts.

Source: fold-in of probabilistic latent semantic analysis (Hofmann 1999) with a Dirichlet prior
centred on the background.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from constellation.coordizer.distinct_tokens import checked_ids, distinct_tokens
from constellation.errors import ConfigError
from constellation.geometry.simplex import distance
from constellation.records import FloatArray

REPEAT_EXPONENT = 0.5
"""Damping exponent: a token seen n times in a text counts n^0.5, since repeating a word does not
double the evidence."""

_LEAVE_OUT_ROWS = 256

_BLOCK_ELEMENTS = 2**18


class BasinEstimator:
    """Computes basins (simplex points) of token ids under frozen token coordinates.

        theta <- (sum_t w_t normalise(theta * p(z|t) / pi) + prior * pi) / (sum_t w_t + prior)

    EM starts at theta = pi and runs a fixed number of steps; t runs over the distinct tokens, and
    w_t = n_t^0.5 for a token seen n_t times (w_t = n_t with `repeat_exponent=1`). Kernels must be
    fitted, and queries routed, with the same settings.
    """

    def __init__(
        self,
        conditional_VK: NDArray[Any],
        background_K: NDArray[Any],
        *,
        iterations: int = 15,
        prior: float = 1.0,
        repeat_exponent: float = REPEAT_EXPONENT,
    ) -> None:
        """Store coordinates and settings.

        Args:
            conditional_VK: p(z | token), rows on the simplex, shape (V, K).
            background_K: Corpus background pi, all entries > 0, shape (K,).
            iterations: EM steps, at least 1.
            prior: Weight a0 of the background, in tokens, > 0.
            repeat_exponent: In [0, 1]: 1 counts every occurrence, 0 counts every distinct token
                once.

        Raises:
            ConfigError: Shapes do not fit, or a setting is out of range.
        """
        if conditional_VK.ndim != 2 or background_K.shape != conditional_VK.shape[1:]:
            raise ConfigError(
                f"coordinates of shape {conditional_VK.shape} do not fit a background of shape "
                f"{background_K.shape}; need (V, K) and (K,)"
            )
        if iterations < 1 or not prior > 0 or not np.all(background_K > 0):
            raise ConfigError(
                f"need iterations >= 1, prior > 0 and a background without zeros, got "
                f"{iterations}, {prior} and a least entry of {background_K.min()}"
            )
        if not 0 <= repeat_exponent <= 1:
            raise ConfigError(f"need repeat_exponent in [0, 1], got {repeat_exponent}")
        self.iterations = iterations
        self.prior = prior
        self.repeat_exponent = repeat_exponent
        self.background_K: FloatArray = background_K.astype(np.float64)
        self._start_K = background_K.astype(np.float32)
        self._pull_K = (prior * self.background_K).astype(np.float32)
        self._ratio_VK = (conditional_VK / self.background_K).astype(np.float32)

    @property
    def num_tokens(self) -> int:
        """Size of the vocabulary V."""
        return int(self._ratio_VK.shape[0])

    def settings(self) -> str:
        """Return the settings beside the coordinates that decide a basin, as one hashable line."""
        return f"{self.iterations} {self.prior!r} {self.repeat_exponent!r}"

    def basin(self, ids: ArrayLike) -> FloatArray:
        """Return the basin of one text.

        Args:
            ids: Token ids, each in [0, V), shape (T,). T = 0 gives the background exactly, which
                the router flags as "no evidence".

        Returns:
            A simplex point, float64, shape (K,).

        Raises:
            InvalidRequest: When an id is outside the vocabulary.
        """
        ids_T = checked_ids(ids, self.num_tokens)
        if ids_T.size == 0:
            return self.background_K.copy()
        ids_U, counts_U = np.unique(ids_T, return_counts=True)
        weight_U = self._weights(counts_U)
        ratio_UK = self._ratio_VK.take(ids_U, axis=0)
        scale = np.float32(1 / (float(weight_U.sum()) + self.prior))
        theta_K = self._start_K
        # Some BLAS routines compute on padding and raise "invalid" there; the result is right.
        with np.errstate(invalid="ignore"):
            for _ in range(self.iterations):
                evidence_U = ratio_UK.dot(theta_K)
                np.divide(weight_U, evidence_U, out=evidence_U)
                theta_K = evidence_U.dot(ratio_UK) * theta_K
                theta_K += self._pull_K
                theta_K *= scale
        basin_K = theta_K.astype(np.float64)
        basin_K /= basin_K.sum()
        return basin_K

    def basins(self, texts: Sequence[ArrayLike]) -> FloatArray:
        """Return the basins of several texts, shape (M, K), with the bits of `basin(texts[m])`.

        Texts with the same number of distinct tokens are computed together, which makes short texts
        ten times as fast.

        Raises:
            InvalidRequest: When an id is outside the vocabulary.
        """
        basins_MK = np.tile(self.background_K, (len(texts), 1))
        ids_S, counts_S, ends_M = distinct_tokens(texts, self.num_tokens)
        sizes_M = np.diff(ends_M, prepend=0)
        for rows in self._equal_sizes(sizes_M):
            size = int(sizes_M[rows[0]])
            place_MU = (ends_M[rows] - size)[:, None] + np.arange(size)
            basins_MK[rows] = self._basins_alike(ids_S[place_MU], counts_S[place_MU])
        return basins_MK

    def _equal_sizes(self, sizes_M: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
        """Yield indices of texts of equal size, in groups that fit the cache; omit empty texts."""
        order = np.argsort(sizes_M, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(sizes_M[order])) + 1):
            size = int(sizes_M[group[0]]) if len(group) else 0
            if size:
                most = max(1, _BLOCK_ELEMENTS // (size * self.background_K.size))
                yield from (group[at : at + most] for at in range(0, len(group), most))

    def _basins_alike(self, ids_MU: NDArray[np.intp], counts_MU: NDArray[np.intp]) -> FloatArray:
        """Return the basins of texts with equally many distinct tokens, by the steps of `basin`.

        Every product is one text's matrix times that text's vector, as in `basin`, so no bit
        differs.
        """
        weight_MU = self._weights(counts_MU)
        ratio_MUK = self._ratio_VK.take(ids_MU, axis=0)
        total_M = weight_MU.sum(axis=1).astype(np.float64) + self.prior
        scale_M1 = (1 / total_M).astype(np.float32)[:, None]
        theta_MK = np.tile(self._start_K, (len(ids_MU), 1))
        with np.errstate(invalid="ignore"):
            for _ in range(self.iterations):
                evidence_MU = np.matmul(ratio_MUK, theta_MK[:, :, None])[:, :, 0]
                np.divide(weight_MU, evidence_MU, out=evidence_MU)
                theta_MK = np.matmul(evidence_MU[:, None, :], ratio_MUK)[:, 0] * theta_MK
                theta_MK += self._pull_K
                theta_MK *= scale_M1
        basins_MK = theta_MK.astype(np.float64)
        basins_MK /= basins_MK.sum(axis=1, keepdims=True)
        return basins_MK

    def influence(self, ids: ArrayLike) -> FloatArray:
        """Return how far each token moved the basin: the distance to the basin without the token.

        Costs O(iterations * U^2 * K), so this is for explanations of a route, not for routing.

        Args:
            ids: Token ids, shape (T,).

        Returns:
            Fisher-Rao distances in radians between the basin with and without each token, shape
            (T,), in [0, pi]. A token whose coordinate is the background changes only the relative
            weight of the prior, so its distance is near 0.

        Raises:
            InvalidRequest: When an id is outside the vocabulary.
        """
        ids_T = checked_ids(ids, self.num_tokens)
        ids_U, place_T, counts_U = np.unique(ids_T, return_inverse=True, return_counts=True)
        whole_K = self.basin(ids_T)
        shifts_U = np.empty(ids_U.size)
        for start in range(0, ids_U.size, _LEAVE_OUT_ROWS):
            left_out = np.arange(start, min(start + _LEAVE_OUT_ROWS, ids_U.size))
            basins_MK = self._basins_without(ids_U, counts_U, left_out)
            shifts_U[left_out] = distance(basins_MK, whole_K)
        shifts_T: FloatArray = shifts_U[place_T]
        return shifts_T

    def _basins_without(
        self, ids_U: NDArray[Any], counts_U: NDArray[Any], left_out: NDArray[Any]
    ) -> FloatArray:
        """Return the basins of a text with one occurrence of each token in `left_out` removed."""
        ratio_UK = self._ratio_VK.take(ids_U, axis=0)
        weight_MU = np.tile(self._weights(counts_U), (left_out.size, 1))
        rest = counts_U[left_out] - 1
        weight_MU[np.arange(left_out.size), left_out] = np.where(rest, self._weights(rest), 0)
        total_M1 = weight_MU.sum(axis=1, keepdims=True) + np.float32(self.prior)
        theta_MK = np.tile(self._start_K, (left_out.size, 1))
        for _ in range(self.iterations):
            share_MU = weight_MU / (theta_MK @ ratio_UK.T)
            theta_MK = (theta_MK * (share_MU @ ratio_UK) + self._pull_K) / total_M1
        basins_MK = theta_MK.astype(np.float64)
        basins_MK /= basins_MK.sum(axis=1, keepdims=True)
        return basins_MK

    def _weights(self, counts_U: NDArray[Any]) -> NDArray[np.float32]:
        """Return n^exponent for tokens seen n >= 1 times."""
        weights_U: NDArray[np.float32] = counts_U.astype(np.float32) ** self.repeat_exponent
        return weights_U
