"""Sparse token counts of texts, shared by the peers."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from constellation.records import TokenArray


def count_matrix(texts: Sequence[TokenArray], vocab_size: int) -> sparse.csr_array:
    """Return float64 counts, one row per text, shape (N, V)."""
    lengths = [len(ids) for ids in texts]
    rows = np.repeat(np.arange(len(texts)), lengths)
    ids = np.concatenate(texts) if texts else np.empty(0, dtype=np.intp)
    counts = sparse.coo_array((np.ones(ids.size), (rows, ids)), shape=(len(texts), vocab_size))
    return counts.tocsr()


def chunks(
    documents: Sequence[TokenArray], tokens: int | None, limit: int
) -> tuple[list[TokenArray], np.ndarray]:
    """Cut documents into pieces of `tokens` (None: whole), at most `limit`, with their documents.

    Beyond the limit pieces are thinned out evenly.
    """
    pieces, owners = [], []
    for owner, ids in enumerate(documents):
        step = len(ids) if tokens is None else tokens
        for start in range(0, len(ids), max(1, step)):
            pieces.append(ids[start : start + step])
            owners.append(owner)
    kept = np.unique(np.linspace(0, len(pieces) - 1, min(limit, len(pieces))).astype(np.intp))
    return [pieces[place] for place in kept], np.asarray(owners, dtype=np.intp)[kept]
