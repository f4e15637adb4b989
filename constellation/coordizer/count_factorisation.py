"""Count tokens in windows of 128 tokens, and divide the counts over K outcomes by EM.

The arithmetic behind token coordinates: sparse counts in, soft counts out. This file works on token
ids and numbers, not on text, labels or files. Memory is O(non-zeros + (W + V) K).

Shapes: V tokens of the vocabulary, K outcomes, W windows, N non-zero counts.

Sources: probabilistic latent semantic analysis (Hofmann 1999), which is the KL factorisation of
counts; damping of bursts after "Modeling word burstiness" (Madsen, Kauchak and Elkan 2005).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from constellation.errors import ConfigError
from constellation.records import FloatArray

WINDOW_TOKENS = 128
"""Tokens per window; all tokens of a window share one mixture of outcomes."""

BURST_EXPONENT = 0.8
"""Damping exponent: a token seen n times in a document counts n^0.8, because repetitions within a
document are less informative than the first occurrence."""

_CHUNK_NONZEROS = 262_144


def count_windows(documents: Sequence[NDArray[Any]], *, vocab_size: int) -> sparse.csr_array:
    """Count tokens in windows of 128 tokens, damped within each document.

    Args:
        documents: Token ids of each document, shape (T,) each; no window crosses a document.
        vocab_size: V.

    Returns:
        Float32 counts, shape (W, V). For a token that a document contains n times, the counts of
        the document's windows sum to n^0.8.

    Raises:
        ConfigError: When an id is outside [0, vocab_size).
    """
    texts = [_checked(np.asarray(ids), vocab_size) for ids in documents if len(ids)]
    if not texts:
        return sparse.csr_array((0, vocab_size), dtype=np.float32)
    sizes = np.array([-(-ids_T.size // WINDOW_TOKENS) for ids_T in texts])
    first = np.cumsum(sizes) - sizes
    row = np.concatenate(
        [
            start + np.arange(ids_T.size) // WINDOW_TOKENS
            for start, ids_T in zip(first.tolist(), texts, strict=True)
        ]
    )
    damped = np.concatenate([_damped(ids_T) for ids_T in texts])
    ids = np.concatenate(texts).astype(np.int64)
    counts = sparse.coo_array((damped, (row, ids)), shape=(int(sizes.sum()), vocab_size))
    return counts.tocsr()


def _damped(ids_T: NDArray[Any]) -> NDArray[np.float32]:
    """Return the damped count of each occurrence: n occurrences of a token sum to n^0.8."""
    _, place_T, total_U = np.unique(ids_T, return_inverse=True, return_counts=True)
    damped_T: NDArray[np.float32] = (total_U[place_T] ** (BURST_EXPONENT - 1)).astype(np.float32)
    return damped_T


def _checked(ids_T: NDArray[Any], vocab_size: int) -> NDArray[Any]:
    if int(ids_T.min()) < 0 or int(ids_T.max()) >= vocab_size:
        raise ConfigError(
            f"token ids run from {ids_T.min()} to {ids_T.max()}; the vocabulary has {vocab_size}"
        )
    return ids_T


class WindowCounts(Protocol):
    """Counts of windows: a sparse array of scipy, or a `WindowFile`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Return (W, V)."""

    @property
    def indptr(self) -> NDArray[Any]:
        """Return where each window's counts begin, shape (W + 1,)."""

    def __getitem__(self, rows: slice, /) -> sparse.csr_array:
        """Return the counts of consecutive windows."""

    def sum(self, axis: int) -> NDArray[np.float32]:
        """Return the sums over the windows, for axis 0, shape (V,)."""


def factorise(
    windows_WV: WindowCounts,
    *,
    num_outcomes: int,
    iterations: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Divide counts over outcomes by EM: n_wv ~ sum_z theta_wz phi_vz.

    Args:
        windows_WV: Counts, shape (W, V).
        num_outcomes: K.
        iterations: EM steps, at least 1.
        rng: Draws the initial theta; the result is a function of the draw and the counts.

    Returns:
        Soft counts of token v in outcome z, shape (V, K); summed over z they equal the counts.
    """
    num_windows, vocab_size = windows_WV.shape
    theta_WK = rng.dirichlet(np.ones(num_outcomes), num_windows).astype(np.float32)
    token_V = np.asarray(windows_WV.sum(axis=0), dtype=np.float64).ravel()
    share_V = token_V / max(token_V.sum(), 1.0)
    phi_VK = np.repeat(share_V[:, None], num_outcomes, axis=1).astype(np.float32)
    soft_VK = np.zeros((vocab_size, num_outcomes))
    for _ in range(iterations):
        theta_WK, soft_VK = _em_step(windows_WV, theta_WK, phi_VK)
        phi_VK = (soft_VK / np.maximum(soft_VK.sum(axis=0), 1e-12)).astype(np.float32)
    # float32 sums lose a few digits; rescale to each token's total, which is known exactly.
    sums_V = soft_VK.sum(axis=1)
    scale_V = np.divide(token_V, sums_V, out=np.zeros_like(token_V), where=sums_V > 0)
    exact_VK: FloatArray = soft_VK * scale_V[:, None]
    return exact_VK


def _em_step(
    windows_WV: WindowCounts, theta_WK: NDArray[np.float32], phi_VK: NDArray[np.float32]
) -> tuple[NDArray[np.float32], FloatArray]:
    """Return the next theta, rows summing to 1, and the soft counts under the given parameters."""
    soft_VK = np.zeros(phi_VK.shape)
    next_WK = np.empty_like(theta_WK)
    for rows in _row_chunks(windows_WV.indptr):
        part = windows_WV[rows]
        theta = theta_WK[rows]
        repeated_NK = np.repeat(theta, np.diff(part.indptr), axis=0)
        expected_N = np.einsum("nk,nk->n", repeated_NK, phi_VK[part.indices])
        # 1e-30 avoids a division by 0 for a count whose outcomes all have mass 0; its weight is 0.
        ratio_N = part.data / np.maximum(expected_N, 1e-30)
        weights = sparse.csr_array((ratio_N, part.indices, part.indptr), shape=part.shape)
        next_WK[rows] = theta * (weights @ phi_VK)
        soft_VK += phi_VK * (weights.T @ theta)
    next_WK += 1e-6
    next_WK /= next_WK.sum(axis=1, keepdims=True)
    return next_WK, soft_VK


def _row_chunks(indptr: NDArray[Any]) -> Iterator[slice]:
    """Yield slices of rows with about `_CHUNK_NONZEROS` non-zeros each."""
    start, num_rows = 0, indptr.size - 1
    while start < num_rows:
        limit = indptr[start] + _CHUNK_NONZEROS
        stop = int(np.searchsorted(indptr, limit, side="right")) - 1
        stop = min(max(stop, start + 1), num_rows)
        yield slice(start, stop)
        start = stop
