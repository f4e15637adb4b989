"""Cut documents into the passages on which radii, temperatures and thresholds are calibrated.

A document shorter than `SHORT_TOKENS` is used whole, like a query. A longer document is cut into
passages. No randomness: a set of records gives one set of passages.

Shapes: N texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from constellation.domains.encoded_documents import IdArray
from constellation.routing.refusal_rule import LENGTHS

PREFIX_TOKENS = 32
"""Length in tokens of the passages on which radii and temperatures are calibrated: that of a short
query. A shorter document is one passage."""

PASSAGES_PER_DOCUMENT = 8
"""Most calibration passages taken from one held-out document, one after the other from its
start."""

SHORT_TOKENS = 32
"""Documents with fewer tokens are used whole: a cut from the middle does not resemble a query."""

PASSAGES_OF_DOCUMENT = 32
"""Most passages of one length cut from one document."""

PASSAGES_OF_DOMAIN = 256
"""Approximate number of passages of one length cut from one domain."""

PASSAGES_MAX = 16_384
"""Approximate limit of passages of one length over all domains; more domains get fewer passages
each, but at least `_DOMAIN_MIN`."""

_DOMAIN_MIN = 64
_GOLDEN = (5**0.5 - 1) / 2
"""Golden ratio; its multiples spread evenly over [0, 1), so that with few passages per document the
passages do not all start at the document's beginning."""


@dataclass(frozen=True, slots=True)
class Passages:
    """Passages as tokens, with the kernel and the document that each passage is from."""

    tokens: list[IdArray]
    """Tokens of each text, at least one."""
    kernel_N: NDArray[np.intp]
    """Index of the kernel that each passage belongs to."""
    document_N: NDArray[np.intp]
    """Document that each passage is from, numbered over all kernels."""


def first_passages(documents: Sequence[IdArray]) -> list[IdArray]:
    """Cut one kernel's documents into the passages for calibrating radii and temperatures."""
    return [
        ids[start : start + PREFIX_TOKENS]
        for ids in documents
        for start in range(
            0, max(0, len(ids) - PREFIX_TOKENS) + 1 if len(ids) else 0, PREFIX_TOKENS
        )[:PASSAGES_PER_DOCUMENT]
    ]


def draw_passages(documents: Sequence[Sequence[IdArray]]) -> Passages:
    """Cut all kernels' documents into passages of every length; short documents are used whole.

    Args:
        documents: Evidence tokens of the documents of every kernel, in the order of the kernels.
    """
    of_domain = max(_DOMAIN_MIN, min(PASSAGES_OF_DOMAIN, PASSAGES_MAX // len(documents)))
    tokens: list[IdArray] = []
    kernel, document = [], []
    row = 0
    for place, own in enumerate(documents):
        each = max(1, min(PASSAGES_OF_DOCUMENT, of_domain // max(1, len(own))))
        for ids in own:
            cut = _cut(ids, each, part=row * _GOLDEN % 1)
            tokens += cut
            kernel += [place] * len(cut)
            document += [row] * len(cut)
            row += 1
    return Passages(tokens, np.array(kernel, dtype=np.intp), np.array(document, dtype=np.intp))


def _cut(ids: IdArray, passages_max: int, *, part: float) -> list[IdArray]:
    """Return passages at even steps, the first `part` of a step from the document's start."""
    if len(ids) < SHORT_TOKENS:
        return [ids] if len(ids) else []
    steps = (np.arange(passages_max) + part) / passages_max
    return [
        ids[start : start + length]
        for length in LENGTHS
        if length <= len(ids)
        for start in np.unique((steps * (len(ids) - length + 1)).astype(int))
    ]
