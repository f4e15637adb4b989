"""De-duplicate documents: remove exact copies, near copies and repeated paragraphs.

Held-out figures are meaningless when held-out text also occurs in the training text, so documents
are de-duplicated before the split, over the whole corpus.
"""

import tempfile
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from constellation.curricula.comparison_keys import Sketch, comparison_keys
from constellation.curricula.document_spill import DocumentSpill
from constellation.curricula.documents import Document
from constellation.curricula.near_copies import without_near_copies
from constellation.curricula.repeated_paragraphs import RepeatedParagraphs

Numbers = NDArray[np.int64]
"""Numbers of documents in a spill, ascending."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deduplicated:
    """The documents that are kept, and counts of what was removed."""

    documents: tuple[Document, ...]
    """Kept documents, in order, without repeated paragraphs."""
    num_exact: int
    """Documents removed because another document has the same text."""
    num_near: int
    """Documents removed because another document is nearly the same."""
    num_paragraphs: int
    """Paragraphs removed because they occur earlier in the corpus."""
    num_emptied: int
    """Documents removed because all their paragraphs occur earlier in the corpus."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """The documents of a spill that are kept, and counts of what was removed, as `Deduplicated`."""

    numbers: "array[int]"
    num_exact: int
    num_near: int
    num_paragraphs: int
    num_emptied: int


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
    """
    with tempfile.TemporaryDirectory() as folder, DocumentSpill(Path(folder)) as spill:
        for document in documents:
            spill.add(document, comparison_keys(document.text, chars_min=paragraph_chars_min))
        kept = deduplicate_spill(
            spill,
            np.arange(len(spill)),
            similarity_max=similarity_max,
            paragraph_chars_min=paragraph_chars_min,
        )
        texts = [replace(documents[number], text=spill.text(number)) for number in kept.numbers]
    return Deduplicated(
        documents=tuple(texts),
        num_exact=kept.num_exact,
        num_near=kept.num_near,
        num_paragraphs=kept.num_paragraphs,
        num_emptied=kept.num_emptied,
    )


def deduplicate_spill(
    spill: DocumentSpill, numbers: Numbers, *, similarity_max: float, paragraph_chars_min: int
) -> Kept:
    """De-duplicate some documents of a spill; repeated paragraphs are removed from their texts.

    Args:
        spill: Documents whose keys were made with the same `paragraph_chars_min`.
        numbers: Numbers of the documents, ascending.
        similarity_max: As for `deduplicate`.
        paragraph_chars_min: As for `deduplicate`.
    """
    exact = _without_copies(spill, numbers)
    places = without_near_copies(
        _Chosen(spill, exact), lambda place: spill.text(int(exact[place])), similarity_max
    )
    near = exact[places]
    kept, num_paragraphs = _without_paragraphs(spill, near, paragraph_chars_min)
    return Kept(
        numbers=kept,
        num_exact=len(numbers) - len(exact),
        num_near=len(exact) - len(near),
        num_paragraphs=num_paragraphs,
        num_emptied=len(near) - len(kept),
    )


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The sketches of some documents of a spill."""

    spill: DocumentSpill
    numbers: Numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Sketch:
        return self.spill.sketches[int(self.numbers[index])]


def _without_copies(spill: DocumentSpill, numbers: Numbers) -> Numbers:
    """Return the first of all documents of one text."""
    digests = spill.digests()[numbers]
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: the first document comes first
    ordered = digests[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return np.sort(numbers[order[is_first]])


def _without_paragraphs(
    spill: DocumentSpill, numbers: Numbers, chars_min: int
) -> tuple["array[int]", int]:
    """Drop repeated paragraphs; return the documents with text left, and how many were dropped."""
    kept, num_dropped = array("q"), 0
    repeated = RepeatedParagraphs(spill.paragraphs, spill, chars_min=chars_min)
    for number in numbers.tolist():
        keys = spill.paragraphs[number]
        if repeated.occur_in(keys):
            whole = spill.text(number)
            text, dropped = repeated.without_copies(whole, keys, spill.text_start(number))
            num_dropped += dropped
            if not text.strip():
                continue
            if dropped:
                spill.replace_text(number, text)
        kept.append(number)
    return kept, num_dropped
