"""Find near copies: documents that share most of their shingles (five consecutive words).

Two documents are compared by bottom-k sketches of their shingles (Broder 1997), which estimate the
Jaccard index without bias. Prefix filtering (Chaudhuri, Ganti and Kaushik 2006) selects the
documents to compare: two similar sketches share one of the few rarest values of each, so common
values (a notice or mail header in every document) are never looked up, and the time is proportional
to the number of documents.
"""

import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from constellation.curricula.comparison_units import units, use_other_operators
from constellation.curricula.documents import Document

SHINGLE_WORDS = 5
SKETCH_SIZE = 64

HOLDERS_MAX = 64
"""Most documents stored under one value; a value of more documents does not discriminate."""

COMPARISONS_MAX = 32
"""Most documents compared with a document; the documents that share most rare values come first."""

_SLAB_WORDS = 65_536
"""Most words hashed at once; bounds the memory and sorting of a long text."""

Sketch = NDArray[np.uint64]


def drop_near_copies(
    documents: Sequence[Document], similarity_max: float
) -> tuple[list[Document], int]:
    """Keep the first document of every group of near copies; return them and the number removed.

    Documents with the same words but different operators (`a + b`, `a - b`) are not copies.

    Args:
        documents: Texts; the order decides which document of a group is kept.
        similarity_max: Jaccard index of shingles in (0, 1] from which on two documents are copies.
    """
    sketches = [sketch(document.text) for document in documents]
    index = NearIndex(sketches, similarity_max)
    kept: list[Document] = []
    numbers: list[int] = []  # of the kept, among all documents
    for number, document in enumerate(documents):
        copies = (documents[numbers[place]] for place in index.copies_of(sketches[number]))
        if any(not use_other_operators(document.text, copy.text) for copy in copies):
            continue
        index.add(sketches[number])
        numbers.append(number)
        kept.append(document)
    return kept, len(documents) - len(kept)


class NearIndex:
    """Sketches of the documents kept so far, indexed by their rarest values."""

    def __init__(self, sketches: Sequence[Sketch], similarity_max: float) -> None:
        """Count in how many sketches, of all documents to look up or add, each value occurs."""
        self._similarity_max = similarity_max
        self._counts = _count_values(sketches)
        self._added: list[Sketch] = []
        self._holders: defaultdict[int, list[int]] = defaultdict(list)
        self.num_comparisons = 0
        """Pairs of documents compared or looked up so far: the work that was done."""

    def add(self, values: Sketch) -> None:
        """Add the sketch of a document that is kept."""
        for value in self._rarest(values):
            if len(self._holders[value]) < HOLDERS_MAX:
                self._holders[value].append(len(self._added))
        self._added.append(values)

    def copies_of(self, values: Sketch) -> Iterator[int]:
        """Yield the indices, in the order of adding, of documents that are similar enough."""
        shared = Counter(
            place for value in self._rarest(values) for place in self._holders.get(value, ())
        )
        self.num_comparisons += shared.total()
        for place, _ in shared.most_common(COMPARISONS_MAX):
            if jaccard(values, self._added[place]) >= self._similarity_max:
                yield place

    def _rarest(self, values: Sketch) -> list[int]:
        """Return the rarest values of a sketch; any near copy shares at least one of them.

        Copies share at least `similarity_max` of the larger sketch, so the rarest common value of
        two copies is among this many rarest values of each. Values of no other document are
        omitted.
        """
        num_shared_min = math.ceil(self._similarity_max * len(values) - 1e-9)
        counts = self._counts[_slots(values, self._counts)]
        order = np.lexsort((values, counts))[: len(values) - num_shared_min + 1]
        rarest: list[int] = values[order][counts[order] > 1].tolist()
        return rarest


def sketch(text: str) -> Sketch:
    """Return the smallest hashes of a text's shingles, sorted, at most `SKETCH_SIZE`."""
    words = units(text) or [""]
    smallest = np.empty(0, dtype=np.uint64)
    for start in range(0, max(1, len(words) - SHINGLE_WORDS + 1), _SLAB_WORDS):
        hashes = _shingles(words[start : start + _SLAB_WORDS + SHINGLE_WORDS - 1])
        if len(smallest) == SKETCH_SIZE:  # most hashes are too large to be among the smallest
            hashes = hashes[hashes < smallest[-1]]
        smallest = np.unique(np.concatenate((smallest, hashes)))[:SKETCH_SIZE]
    return smallest


def _shingles(words: Sequence[str]) -> Sketch:
    """Return a hash of every five consecutive words, or of all words if there are fewer."""
    codes = np.asarray([zlib.crc32(word.encode()) for word in words], dtype=np.uint64)
    num_shingles = max(1, len(codes) - SHINGLE_WORDS + 1)
    mixed = np.zeros(num_shingles, dtype=np.uint64)
    for offset in range(min(SHINGLE_WORDS, len(codes))):
        mixed = _scramble(mixed ^ codes[offset : offset + num_shingles])
    return mixed


def jaccard(a: Sketch, b: Sketch) -> float:
    """Estimate the Jaccard index from two bottom-k sketches."""
    values, counts = np.unique(np.concatenate((a, b)), return_counts=True)
    return float(np.count_nonzero(counts[:SKETCH_SIZE] == 2) / len(values[:SKETCH_SIZE]))


def _count_values(sketches: Sequence[Sketch]) -> NDArray[np.uint32]:
    """Return a table by slot of the number of sketches with each value (or more, on a collision).

    Prefix filtering works with any order of values that all documents share; a count that is too
    high only costs a lookup.
    """
    num_values = sum(map(len, sketches))
    counts = np.zeros(1 << max(10, num_values.bit_length()), dtype=np.uint32)
    for values in sketches:
        counts[_slots(values, counts)] += np.uint32(1)
    return counts


def _slots(values: Sketch, counts: NDArray[np.uint32]) -> NDArray[np.uint64]:
    return values & np.uint64(len(counts) - 1)


def _scramble(values: Sketch) -> Sketch:
    """Mix 64-bit integers bijectively (the finaliser of splitmix64)."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
