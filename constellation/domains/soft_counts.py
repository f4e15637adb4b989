"""Soft token counts of one domain's text, which the fit of token coordinates adds up.

The counts depend on the domain's own documents, its name, the seed and the size of its block of
outcomes. There are few sizes, so the counts for each size are stored in the record, and adding a
kernel does not count the text of other kernels again.

Shapes: V tokens of the vocabulary, B outcomes of a block, U distinct tokens of a domain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation.coordizer.blocks import BLOCK_MAX, Blocks
from constellation.coordizer.coordinates import (
    even_counts,
    is_even,
    soft_counts,
    total_counts,
)
from constellation.coordizer.count_factorisation import count_windows
from constellation.errors import ConfigError
from constellation.records import FloatArray

SIZES = tuple(range(2, BLOCK_MAX + 1))
"""Sizes of blocks over which EM divides counts; a block of one outcome, or of shared outcomes,
needs only the total counts."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SoftCounts:
    """Counts that a domain adds to the coordinates, for every size of block."""

    seed: int
    """Seed of EM's start."""
    ids_U: NDArray[Any]
    """Tokens that occur, ascending."""
    total_U: FloatArray
    """Damped count of each token, >= 0, float64."""
    by_size: Mapping[int, FloatArray]
    """Number of outcomes of a block -> soft counts of each token in each outcome, shape (U, B)."""

    def __post_init__(self) -> None:
        """Check that shapes fit and that tokens are ascending."""
        shapes = {size: soft_UB.shape for size, soft_UB in self.by_size.items()}
        wanted = {size: (len(self.ids_U), size) for size in SIZES}
        if self.total_U.shape != self.ids_U.shape or shapes != wanted:
            raise ConfigError(f"soft counts of shapes {shapes}; need {wanted}")
        if (np.diff(self.ids_U.astype(np.int64)) <= 0).any():
            raise ConfigError("the tokens of soft counts must be in ascending order")

    def of_block(self, blocks: Blocks, domain: str, *, vocab_size: int) -> FloatArray:
        """Return the counts that the domain adds to its block of outcomes, shape (V, B)."""
        size = len(blocks[domain])
        if is_even(blocks, domain):
            return self._spread(even_counts(self.total_U, size), vocab_size)
        return self._spread(self.by_size[size], vocab_size)

    def _spread(self, counts_UB: FloatArray, vocab_size: int) -> FloatArray:
        counts_VB = np.zeros((vocab_size, counts_UB.shape[1]))
        counts_VB[self.ids_U] = counts_UB
        return counts_VB


def count_domain(
    documents: Sequence[NDArray[Any]], domain: str, *, vocab_size: int, seed: int
) -> SoftCounts:
    """Count the tokens of a domain's documents for every size of block.

    Args:
        documents: Token ids of each document, each in [0, V).
        domain: Name of the domain.
        vocab_size: V.
        seed: Seed of EM's start.
    """
    windows_WV = count_windows(documents, vocab_size=vocab_size)
    total_V = total_counts(windows_WV)
    ids_U = np.flatnonzero(total_V)
    by_size = {size: soft_counts(windows_WV, domain, size=size, seed=seed) for size in SIZES}
    return SoftCounts(
        seed=seed,
        ids_U=ids_U,
        total_U=total_V[ids_U],
        by_size={size: np.ascontiguousarray(soft_VB[ids_U]) for size, soft_VB in by_size.items()},
    )
