"""Find near copies: documents that share most of their shingles (five consecutive words).

Two documents are compared by bottom-k sketches of their shingles (Broder 1997), which estimate the
Jaccard index without bias. Prefix filtering (Chaudhuri, Ganti and Kaushik 2006) selects the
documents to compare: two similar sketches share one of the few rarest values of each, so common
values (a notice or mail header in every document) are never looked up, and the time is proportional
to the number of documents.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from constellation.curricula.comparison_keys import SKETCH_SIZE, Sketch, sketch
from constellation.curricula.comparison_units import use_other_operators
from constellation.curricula.documents import Document

HOLDERS_MAX = 64
"""Most documents stored under one value; a value of more documents does not discriminate."""

COMPARISONS_MAX = 32
"""Most documents compared with a document; the documents that share most rare values come first."""

_SLOTS_MAX = 2**27
"""Most slots of the table of counts, which bounds its memory to 512 MiB."""


class Sketches(Protocol):
    """The sketches of documents, in memory or in a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Sketch: ...


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
    texts = [document.text for document in documents]
    numbers = without_near_copies(sketches, texts.__getitem__, similarity_max)
    return [documents[number] for number in numbers], len(documents) - len(numbers)


def without_near_copies(
    sketches: Sketches, text_of: Callable[[int], str], similarity_max: float
) -> list[int]:
    """Return the numbers of the documents that are no near copy of an earlier one, ascending.

    Args:
        sketches: Sketch of every document.
        text_of: Function from a document's number to its text.
        similarity_max: As for `drop_near_copies`.
    """
    index = NearIndex(sketches, similarity_max)
    kept: list[int] = []
    for number in range(len(sketches)):
        copies = index.copies_of(number)
        if any(not use_other_operators(text_of(number), text_of(copy)) for copy in copies):
            continue
        index.add(number)
        kept.append(number)
    return kept


class NearIndex:
    """Documents kept so far, found by the rarest values of their sketches.

    The index is a few flat arrays, of about 16 bytes for each rare value that two documents share.
    """

    def __init__(self, sketches: Sketches, similarity_max: float) -> None:
        """Find the rare values that documents share, of all documents to look up or add."""
        self._sketches = sketches
        self._similarity_max = similarity_max
        self._groups, self._ends = _shared_values(sketches, similarity_max)
        sizes = np.bincount(self._groups[self._groups >= 0])
        self._starts = np.concatenate(([0], np.cumsum(np.minimum(sizes, HOLDERS_MAX))))
        self._filled = np.zeros(len(sizes), dtype=np.int32)
        self._holders = np.zeros(self._starts[-1], dtype=np.int32)
        self.num_comparisons = 0
        """Pairs of documents compared or looked up so far: the work that was done."""

    def add(self, number: int) -> None:
        """Add a document that is kept."""
        for group in self._groups_of(number):
            place = self._starts[group] + self._filled[group]
            if place < self._starts[group + 1]:
                self._holders[place] = number
                self._filled[group] += 1

    def copies_of(self, number: int) -> Iterator[int]:
        """Yield the numbers of similar documents among those added, the most alike first."""
        shared = Counter(
            holder for group in self._groups_of(number) for holder in self._holders_of(group)
        )
        self.num_comparisons += shared.total()
        if not shared:
            return
        values = self._sketches[number]
        for holder, _ in shared.most_common(COMPARISONS_MAX):
            if jaccard(values, self._sketches[holder]) >= self._similarity_max:
                yield holder

    def _groups_of(self, number: int) -> list[int]:
        first = self._ends[number - 1] if number else 0
        groups: list[int] = self._groups[first : self._ends[number]].tolist()
        return [group for group in groups if group >= 0]

    def _holders_of(self, group: int) -> list[int]:
        start = self._starts[group]
        holders: list[int] = self._holders[start : start + self._filled[group]].tolist()
        return holders


def jaccard(a: Sketch, b: Sketch) -> float:
    """Estimate the Jaccard index from two bottom-k sketches."""
    values, counts = np.unique(np.concatenate((a, b)), return_counts=True)
    return float(np.count_nonzero(counts[:SKETCH_SIZE] == 2) / len(values[:SKETCH_SIZE]))


def _shared_values(
    sketches: Sketches, similarity_max: float
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the rarest values of every sketch as numbers, and where each sketch's values end.

    A value that no other sketch has among its rarest is -1.
    """
    counts = _count_values(sketches)
    rarest = [_rarest(sketches[number], counts, similarity_max) for number in range(len(sketches))]
    ends = np.cumsum([len(values) for values in rarest], dtype=np.int64)
    values = np.concatenate(rarest) if rarest else np.empty(0, dtype=np.uint64)
    del rarest
    _, place, times = np.unique(values, return_inverse=True, return_counts=True)
    number = np.where(times > 1, np.cumsum(times > 1) - 1, -1).astype(np.int32)
    return number[place], ends


def _rarest(values: Sketch, counts: NDArray[np.uint32], similarity_max: float) -> Sketch:
    """Return the rarest values of a sketch; any near copy shares at least one of them.

    Copies share at least `similarity_max` of the larger sketch, so the rarest common value of two
    copies is among this many rarest values of each. Values of no other document are omitted.
    """
    num_shared_min = math.ceil(similarity_max * len(values) - 1e-9)
    times = counts[_slots(values, counts)]
    order = np.lexsort((values, times))[: len(values) - num_shared_min + 1]
    return values[order][times[order] > 1]


def _count_values(sketches: Sketches) -> NDArray[np.uint32]:
    """Return a table by slot of the number of sketches with each value (or more, on a collision).

    Prefix filtering works with any order of values that all documents share; a count that is too
    high only costs a lookup.
    """
    num_values = sum(len(sketches[number]) for number in range(len(sketches)))
    num_slots = min(_SLOTS_MAX, 1 << max(10, num_values.bit_length()))
    counts = np.zeros(num_slots, dtype=np.uint32)
    for number in range(len(sketches)):
        counts[_slots(sketches[number], counts)] += np.uint32(1)
    return counts


def _slots(values: Sketch, counts: NDArray[np.uint32]) -> NDArray[np.uint64]:
    return values & np.uint64(len(counts) - 1)
