"""Counts of windows in temporary files, so that coordinates are fitted to more text than memory.

The counts are those of `count_windows`, row for row. Memory is 8 bytes for each window.

Shapes: V tokens of the vocabulary, W windows, N non-zero counts.
"""

import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from constellation.coordizer.count_factorisation import count_windows

_SLAB_TOKENS = 2**20
"""Tokens whose windows are counted at once."""

_SLAB_COUNTS = 2**20
"""Counts read at once to sum them up."""

_COUNT_BYTES = 4


class WindowFile:
    """Counts of the windows of a domain, in two files."""

    def __init__(self, documents: Iterable[NDArray[Any]], *, vocab_size: int, folder: Path) -> None:
        """Count the windows of documents.

        Args:
            documents: Token ids of each document, as for `count_windows`.
            vocab_size: V.
            folder: For the files, which take up to 8 bytes a token and are deleted by `close`.

        Raises:
            ConfigError: When an id is outside [0, vocab_size).
        """
        self._vocab_size = vocab_size
        self._ids, self._counts = _temporary(folder), _temporary(folder)
        ends = array("q", [0])
        for slab in _slabs(documents):
            part = count_windows(slab, vocab_size=vocab_size)
            self._ids.write(part.indices.astype(np.int32).tobytes())
            self._counts.write(part.data.astype(np.float32).tobytes())
            ends.frombytes((part.indptr[1:].astype(np.int64) + ends[-1]).tobytes())
        self._ids.flush()
        self._counts.flush()
        self.indptr = np.frombuffer(ends, dtype=np.int64)
        """Where each window's counts begin, shape (W + 1,)."""

    def __enter__(self) -> "WindowFile":
        """Return the file."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Delete the files."""
        self.close()

    def close(self) -> None:
        """Delete the files."""
        self._ids.close()
        self._counts.close()

    @property
    def shape(self) -> tuple[int, int]:
        """(W, V)."""
        return len(self.indptr) - 1, self._vocab_size

    def __getitem__(self, rows: slice) -> sparse.csr_array:
        """Return the counts of consecutive windows."""
        first, end = int(self.indptr[rows.start]), int(self.indptr[rows.stop])
        indptr = (self.indptr[rows.start : rows.stop + 1] - first).astype(np.int32)
        counts, ids = self._read(first, end)
        shape = (rows.stop - rows.start, self._vocab_size)
        return sparse.csr_array((counts, ids, indptr), shape=shape)

    def sum(self, axis: int = 0) -> NDArray[np.float32]:
        """Return the count of each token over all windows, added up in their order; shape (V,)."""
        assert axis == 0, "counts are added over the windows"
        total_V = np.zeros(self._vocab_size, dtype=np.float32)
        num_counts = int(self.indptr[-1])
        for first in range(0, num_counts, _SLAB_COUNTS):
            counts, ids = self._read(first, min(first + _SLAB_COUNTS, num_counts))
            np.add.at(total_V, ids, counts)
        return total_V

    def _read(self, first: int, end: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        place, size = first * _COUNT_BYTES, (end - first) * _COUNT_BYTES
        counts = os.pread(self._counts.fileno(), size, place)
        ids = os.pread(self._ids.fileno(), size, place)
        return np.frombuffer(counts, dtype=np.float32), np.frombuffer(ids, dtype=np.int32)


def _slabs(documents: Iterable[NDArray[Any]]) -> Iterator[list[NDArray[Any]]]:
    slab: list[NDArray[Any]] = []
    size = 0
    for ids in documents:
        slab.append(ids)
        size += len(ids)
        if size >= _SLAB_TOKENS:
            yield slab
            slab, size = [], 0
    if slab:
        yield slab


def _temporary(folder: Path) -> BinaryIO:
    return tempfile.TemporaryFile(dir=folder)
