"""De-duplicate documents: remove exact copies, near copies and repeated paragraphs.

Held-out figures are meaningless when held-out text also occurs in the training text, so documents
are de-duplicated before the split, over the whole corpus.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from constellation.curricula.comparison_units import units, use_other_operators
from constellation.curricula.documents import Document
from constellation.curricula.near_copies import drop_near_copies

_PARAGRAPHS = re.compile(r"(\n(?:[ \t]*\n)+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Deduplicated:
    """The documents that are kept, and counts of what was removed."""

    documents: tuple[Document, ...]
    num_exact: int
    """Documents removed because another document has the same text."""
    num_near: int
    """Documents removed because another document is nearly the same."""
    num_paragraphs: int
    """Paragraphs removed because they occur earlier in the corpus."""
    num_emptied: int
    """Documents removed because all their paragraphs occur earlier in the corpus."""


def deduplicate(
    documents: Sequence[Document], *, similarity_max: float = 0.8, paragraph_chars_min: int = 200
) -> Deduplicated:
    """Keep the first document of every group of equal or nearly equal documents.

    Args:
        documents: Cleaned documents; the order decides which document of a group is kept.
        similarity_max: Jaccard index of shingles (five words, or five characters of a script
            without blanks), in (0, 1], from which on two documents count as copies.
        paragraph_chars_min: Paragraphs of at least this many characters are kept once in the whole
            corpus. Differences in spacing, case and comment marks are ignored, differences in
            operators are not.

    Returns:
        The kept documents, in order, without repeated paragraphs.
    """
    exact, num_exact = _drop_exact(documents)
    near, num_near = drop_near_copies(exact, similarity_max)
    kept, num_paragraphs = _drop_paragraphs(near, paragraph_chars_min)
    return Deduplicated(
        documents=tuple(kept),
        num_exact=num_exact,
        num_near=num_near,
        num_paragraphs=num_paragraphs,
        num_emptied=len(near) - len(kept),
    )


def _drop_exact(documents: Iterable[Document]) -> tuple[list[Document], int]:
    first: dict[bytes, Document] = {}
    count = 0
    for document in documents:
        count += 1
        first.setdefault(hashlib.sha256(document.text.encode()).digest(), document)
    return list(first.values()), count - len(first)


def _drop_paragraphs(documents: Iterable[Document], chars_min: int) -> tuple[list[Document], int]:
    seen = _SeenParagraphs()
    kept: list[Document] = []
    num_dropped = 0
    for document in documents:
        fresh: list[str] = []
        for start, end, gap in _paragraphs(document.text):
            is_copy = seen.is_copy(document.text, start, end)
            if is_copy and end - start >= chars_min:
                num_dropped += 1
            else:
                fresh.append(document.text[start:gap])
        text = "".join(fresh)
        if text.strip():
            kept.append(replace(document, text=text))
    return kept, num_dropped


def _paragraphs(text: str) -> Iterator[tuple[int, int, int]]:
    """Yield the start and end of each paragraph, and the end of the blank lines after it."""
    start = 0
    for gap in _PARAGRAPHS.finditer(text):
        yield start, gap.start(), gap.end()
        start = gap.end()
    yield start, len(text), len(text)


class _SeenParagraphs:
    """Positions of all paragraphs so far, by the hash of their words."""

    def __init__(self) -> None:
        self._first: dict[bytes, tuple[str, int, int]] = {}

    def is_copy(self, text: str, start: int, end: int) -> bool:
        """Record text[start:end]; return whether its words and operators occurred before."""
        paragraph = text[start:end]
        key = hashlib.sha256(" ".join(units(paragraph)).encode()).digest()
        if key not in self._first:
            self._first[key] = (text, start, end)
            return False
        first, first_start, first_end = self._first[key]
        return not use_other_operators(paragraph, first[first_start:first_end])
