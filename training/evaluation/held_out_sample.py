"""Choose the held-out documents that are scored, when a domain has very many of them."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from constellation.curricula.documents import Document

DOCUMENTS_MAX: Final = 1000
"""Most documents of a domain that figures are measured on; intervals of more are hardly smaller,
and scoring a tenth of a large corpus would take hours."""


def sample_evenly(
    documents: Sequence[Document], documents_max: int = DOCUMENTS_MAX
) -> Sequence[Document]:
    """Return at most so many documents of each domain, at even steps and in their order.

    Documents of which no domain has more are returned as they are.
    """
    counts = Counter(document.domain for document in documents)
    if max(counts.values(), default=0) <= documents_max:
        return documents
    seen: Counter[str] = Counter()
    chosen = []
    for document in documents:
        place, total = seen[document.domain], counts[document.domain]
        seen[document.domain] += 1
        # Of `total` documents these are `documents_max`, spread evenly.
        is_step = place * documents_max // total != (place - 1) * documents_max // total
        if total <= documents_max or is_step:
            chosen.append(document)
    return chosen
