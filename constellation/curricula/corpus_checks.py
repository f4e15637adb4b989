"""Check a corpus before training: empty, huge and damaged documents, and balance of domains."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from constellation.curricula.documents import Corpus, Document

HUGE_BYTES = 2**20
"""Size in bytes above which a document is reported as huge."""

DAMAGED_SHARE_MAX = 0.01
"""Largest share of replacement characters (U+FFFD) of an undamaged document."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationReport:
    """Findings of the check of a corpus; sources are named so that a person can look at them."""

    num_documents: int
    num_bytes: int
    bytes_by_domain: dict[str, int]
    """Domain -> bytes of text."""
    balance: float
    """Entropy of the domains' shares of bytes over its maximum, [0, 1]; 1 means equally large
    domains, or one domain."""
    skipped: tuple[str, ...]
    """"source: reason" of records that could not be read, encoding errors among them."""
    empty: tuple[str, ...]
    """Sources of documents without a visible character."""
    huge: tuple[str, ...]
    """Sources of documents over `HUGE_BYTES`."""
    damaged: tuple[str, ...]
    """Sources of documents with many U+FFFD, which an earlier decoding with a wrong encoding
    leaves."""

    @property
    def problems(self) -> int:
        """Number of findings that a person should check."""
        return len(self.skipped) + len(self.empty) + len(self.huge) + len(self.damaged)


def validate(corpus: Corpus) -> ValidationReport:
    """Check a corpus and return the findings; raises no error for a finding."""
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
    """Return how equal sizes are: the entropy of their shares over its maximum, in [0, 1].

    1 for fewer than two sizes, and for sizes that are all zero.
    """
    values = list(sizes)
    total = sum(values)
    if len(values) < 2 or total == 0:
        return 1.0
    shares = [value / total for value in values if value]
    # max: rounding may give -0.0 when all text is in one domain.
    return max(0.0, -sum(share * math.log(share) for share in shares) / math.log(len(values)))


def _sources(documents: Iterable[Document]) -> tuple[str, ...]:
    return tuple(document.source for document in documents)
