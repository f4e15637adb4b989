"""Check a corpus before training: empty and huge documents, damaged text, class balance."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from constellation.curricula.documents import Corpus, Document

HUGE_BYTES = 2**20
"""A document over this size is reported as huge."""

DAMAGED_SHARE_MAX = 0.01
"""A document with a larger share of replacement characters is reported as damaged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationReport:
    """What was found. Sources are named so that a reader can go and look."""

    num_documents: int
    num_bytes: int
    bytes_by_domain: dict[str, int]
    """Domain -> bytes of text."""
    balance: float
    """Entropy of the domains' byte shares over that of equal shares, [0, 1]; 1 for one domain."""
    skipped: tuple[str, ...]
    """"source: reason" of records that could not be read, encoding errors among them."""
    empty: tuple[str, ...]
    """Sources without any visible character."""
    huge: tuple[str, ...]
    """Sources over `HUGE_BYTES`."""
    damaged: tuple[str, ...]
    """Sources where U+FFFD marks text that was once decoded with the wrong encoding."""

    @property
    def problems(self) -> int:
        """Number of findings that a person should look at."""
        return len(self.skipped) + len(self.empty) + len(self.huge) + len(self.damaged)


def validate(corpus: Corpus) -> ValidationReport:
    """Report on a corpus as it was read; never raises for what it finds."""
    sizes = Counter[str]()
    for document in corpus.documents:
        sizes[document.domain] += len(document.text.encode())
    return ValidationReport(
        num_documents=len(corpus.documents),
        num_bytes=sizes.total(),
        bytes_by_domain=dict(sorted(sizes.items())),
        balance=balance(sizes.values()),
        skipped=tuple(f"{skip.source}: {skip.reason}" for skip in corpus.skipped),
        empty=_sources(d for d in corpus.documents if not d.text.strip()),
        huge=_sources(d for d in corpus.documents if len(d.text.encode()) > HUGE_BYTES),
        damaged=_sources(
            d for d in corpus.documents if d.text.count("\ufffd") > DAMAGED_SHARE_MAX * len(d.text)
        ),
    )


def balance(sizes: Iterable[int]) -> float:
    """Return how equal the sizes are: H(shares) / ln(number of sizes), in [0, 1].

    One size, or none, is balanced: 1. Sizes that are all zero are too.
    """
    values = list(sizes)
    total = sum(values)
    if len(values) < 2 or total == 0:
        return 1.0
    shares = [value / total for value in values if value]
    # max: rounding may leave -0.0 when all the text is in one domain.
    return max(0.0, -sum(share * math.log(share) for share in shares) / math.log(len(values)))


def _sources(documents: Iterable[Document]) -> tuple[str, ...]:
    return tuple(document.source for document in documents)
