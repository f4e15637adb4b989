"""Passages of documents: what radii, temperatures and thresholds of refusal are fitted on.

A document shorter than `SHORT_TOKENS` is a query as it stands. A longer one is cut into passages.
No randomness: a set of records gives one set of passages.

Shapes: N texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from constellation.domains.encoded_documents import IdArray
from constellation.routing.refusal_rule import LENGTHS

PREFIX_TOKENS = 32
"""Length of the passages that radii and temperatures are calibrated on: a short query's. A document
that is shorter is a passage as it stands."""

PASSAGES_PER_DOCUMENT = 8
"""Calibration passages taken from one held-out document, evenly from its start."""

SHORT_TOKENS = 32
"""A document of fewer tokens counts whole: a cut from its middle is not what people ask."""

PASSAGES_OF_DOCUMENT = 32
"""Most passages of one length cut from one document."""

PASSAGES_OF_DOMAIN = 256
"""Passages of one length cut from one domain, about."""

PASSAGES_MAX = 16_384
"""Passages of one length, about: more domains get fewer each, but `_DOMAIN_MIN`."""

_DOMAIN_MIN = 64
_GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it spread evenly over [0, 1): few passages a document do not all open one."""


@dataclass(frozen=True, slots=True)
class Passages:
    """Texts with what they are from."""

    tokens: list[IdArray]
    """Tokens of each text, at least one."""
    kernel_N: NDArray[np.intp]
    """The kernel each text belongs to, by its place."""
    document_N: NDArray[np.intp]
    """The document each text is from, numbered over all kernels."""


def first_passages(documents: Sequence[IdArray]) -> list[IdArray]:
    """Return what radii and temperatures are calibrated on, of the documents of one kernel."""
    return [
        ids[start : start + PREFIX_TOKENS]
        for ids in documents
        for start in range(
            0, max(0, len(ids) - PREFIX_TOKENS) + 1 if len(ids) else 0, PREFIX_TOKENS
        )[:PASSAGES_PER_DOCUMENT]
    ]


def draw_passages(documents: Sequence[Sequence[IdArray]]) -> Passages:
    """Return short documents whole, and passages of every length of longer ones.

    Args:
        documents: Evidence of the documents of every kernel, in the order of the kernels.
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
    """Return passages at even steps, the first of them `part` of a step from the start."""
    if len(ids) < SHORT_TOKENS:
        return [ids] if len(ids) else []
    steps = (np.arange(passages_max) + part) / passages_max
    return [
        ids[start : start + length]
        for length in LENGTHS
        if length <= len(ids)
        for start in np.unique((steps * (len(ids) - length + 1)).astype(int))
    ]
