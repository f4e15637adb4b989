"""Drop exact copies, near copies, and repeated paragraphs.

Held-out figures mean nothing when the held-out text also stands in the training text, so this
runs before the split and over the whole corpus. Near copies are found by bottom-k sketches of
five-word shingles (Broder 1997); the estimate of the Jaccard index is unbiased.
"""

import hashlib
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from constellation.curricula.corpus import Document

SHINGLE_WORDS = 5
SKETCH_SIZE = 64
_WORD = re.compile(r"\w+")
_PARAGRAPHS = re.compile(r"(\n(?:[ \t]*\n)+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Deduplicated:
    """What is left, and how much was dropped."""

    documents: tuple[Document, ...]
    num_exact: int
    """Documents dropped because another has the same text."""
    num_near: int
    """Documents dropped because another is nearly the same."""
    num_paragraphs: int
    """Paragraphs dropped because they stood earlier in the corpus."""


def deduplicate(
    documents: Sequence[Document], *, similarity_max: float = 0.8, paragraph_chars_min: int = 200
) -> Deduplicated:
    """Keep the first of every group of equal or nearly equal documents.

    Args:
        documents: Cleaned documents; the order decides which one of a group stays.
        similarity_max: Jaccard index of five-word shingles in (0, 1] from which two documents
            count as copies.
        paragraph_chars_min: Paragraphs of at least this many characters are kept once in the
            whole corpus; spacing, case and comment marks do not count.

    Returns:
        The documents that stay, in order, without repeated paragraphs.
    """
    exact, num_exact = _drop_exact(documents)
    near, num_near = _drop_near(exact, similarity_max)
    kept, num_paragraphs = _drop_paragraphs(near, paragraph_chars_min)
    return Deduplicated(
        documents=tuple(kept),
        num_exact=num_exact,
        num_near=num_near,
        num_paragraphs=num_paragraphs,
    )


def _drop_exact(documents: Iterable[Document]) -> tuple[list[Document], int]:
    first: dict[bytes, Document] = {}
    count = 0
    for document in documents:
        count += 1
        first.setdefault(hashlib.sha256(document.text.encode()).digest(), document)
    return list(first.values()), count - len(first)


def _drop_near(documents: list[Document], similarity_max: float) -> tuple[list[Document], int]:
    kept: list[Document] = []
    sketches: list[NDArray[np.uint64]] = []
    holders: defaultdict[int, list[int]] = defaultdict(list)  # shingle -> kept documents
    for document in documents:
        sketch = _sketch(document.text)
        shared = Counter(i for value in sketch.tolist() for i in holders.get(value, ()))
        # The likeliest few suffice: a true near copy shares most of its sketch.
        likely = [i for i, _ in shared.most_common(3)]
        if any(_jaccard(sketch, sketches[i]) >= similarity_max for i in likely):
            continue
        for value in sketch.tolist():
            holders[value].append(len(kept))
        kept.append(document)
        sketches.append(sketch)
    return kept, len(documents) - len(kept)


def _sketch(text: str) -> NDArray[np.uint64]:
    """Return the smallest hashes of the text's shingles, sorted, at most `SKETCH_SIZE`."""
    words = [zlib.crc32(word.encode()) for word in _WORD.findall(text.lower())]
    codes = np.asarray(words or [0], dtype=np.uint64)
    num_shingles = max(1, len(codes) - SHINGLE_WORDS + 1)
    mixed = np.zeros(num_shingles, dtype=np.uint64)
    for offset in range(min(SHINGLE_WORDS, len(codes))):
        mixed = _scramble(mixed ^ codes[offset : offset + num_shingles])
    return np.unique(mixed)[:SKETCH_SIZE]


def _scramble(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix 64-bit integers one to one (the finaliser of splitmix64)."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _jaccard(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float:
    """Estimate the Jaccard index from two bottom-k sketches."""
    union = np.union1d(a, b)[:SKETCH_SIZE]
    both = np.intersect1d(np.intersect1d(union, a), b)
    return len(both) / len(union)


def _drop_paragraphs(documents: Iterable[Document], chars_min: int) -> tuple[list[Document], int]:
    seen: set[bytes] = set()
    kept: list[Document] = []
    num_dropped = 0
    for document in documents:
        pieces = _PARAGRAPHS.split(document.text)
        fresh: list[str] = []
        for paragraph, gap in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
            key = hashlib.sha256(" ".join(_WORD.findall(paragraph.lower())).encode()).digest()
            if len(paragraph) >= chars_min and key in seen:
                num_dropped += 1
                continue
            seen.add(key)
            fresh.append(paragraph + gap)
        text = "".join(fresh)
        if text.strip():
            kept.append(replace(document, text=text))
    return kept, num_dropped
