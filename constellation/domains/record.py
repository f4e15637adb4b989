"""The text record of a kernel (small language model): training and held-out documents as tokens.

All that is fitted for a kernel comes from its own record and the records of the other kernels. A
spawned kernel has no text of its own: its record lists the documents of its family that count for
it. A record never contains a query.

Shapes: N documents.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.evidence import evidence
from constellation.domains.encoded_documents import Documents, join_documents, token_dtype
from constellation.domains.soft_counts import SoftCounts, count_domain
from constellation.errors import ConfigError, GrowthRefused
from constellation.routing.source_names import nearest_names, parts_of
from constellation.wire.kernel_names import check_kernel_name

SOURCES_SHOWN = 5
"""Number of sources that an error lists when the named source does not exist."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spawned:
    """Parent of a spawned kernel, and the parent's documents that count for the spawned kernel."""

    parent: str
    """Name of the kernel whose documents are shared."""
    documents_N: NDArray[np.int64]
    """Indices of the training documents of the family's root that count for this kernel and for
    kernels spawned from it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Domain:
    """Text record of one kernel; of a spawned kernel, its part of the parent's documents."""

    name: str
    """Name of the kernel."""
    tokenizer_hash: str
    """sha256 (hex) of the vocabulary and merges by which the text was encoded."""
    vocab_size: int
    """Size V of that vocabulary."""
    train: Documents
    """Training documents, from which coordinates and basins are fitted; empty for a spawned
    kernel."""
    dev: Documents
    """Held-out documents for radii, temperatures and thresholds; empty for a spawned kernel."""
    counts: SoftCounts | None
    """Soft counts of `train`; None for a spawned kernel."""
    unlearned: tuple[str, ...] = ()
    """Sources whose text was removed, in the order of removal."""
    phi_gauge: float | None = None
    """Measured integration (Phi) of the kernel, in [0, 1]; None when not measured."""
    spawned: Spawned | None = None
    """Parent and documents of a spawned kernel; None for a kernel with text of its own."""

    def __post_init__(self) -> None:
        """Check that the parts of the record fit each other."""
        check_kernel_name("name", self.name)
        if (self.spawned is None) != (self.counts is not None):
            raise ConfigError(f"the record of kernel {self.name!r} needs either text or a parent")
        for documents in (self.train, self.dev):
            tokens = (documents.tokens_T, documents.rest_T)
            if any(ids.size and int(ids.max()) >= self.vocab_size for ids in tokens):
                raise ConfigError(
                    f"the record of kernel {self.name!r} has tokens beyond {self.vocab_size - 1}"
                )

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources whose text the record holds, first those of `train`."""
        return tuple(dict.fromkeys((*self.train.sources, *self.dev.sources)))


def make_domain(
    name: str,
    train: Iterable[tuple[str, str]],
    dev: Iterable[tuple[str, str]],
    tokens: Coordizer,
    *,
    seed: int = 0,
    phi_gauge: float | None = None,
) -> Domain:
    """Make a kernel's text record from (source, text) of its training and held-out documents.

    The coordinates of `tokens` are not used.

    Raises:
        ConfigError: There is no training document.
        InvalidRequest: The name is not a valid name of a kernel.
    """
    check_kernel_name("name", name)
    learned = encode_documents(train, tokens)
    if not len(learned):
        raise ConfigError(f"domain {name!r} has no training document; add text")
    return Domain(
        name=name,
        tokenizer_hash=tokens.tokenizer_hash,
        vocab_size=tokens.vocab_size,
        train=learned,
        dev=encode_documents(dev, tokens),
        counts=count_domain(learned.tokens(), name, vocab_size=tokens.vocab_size, seed=seed),
        phi_gauge=phi_gauge,
    )


def unlearn(domain: Domain, source: str) -> Domain:
    """Return the record of a kernel without the text of one source.

    All that is fitted from the new record equals, to the bit, what a record without the source
    would give. The kernel's weights do not change.

    Args:
        domain: Record of a kernel with text of its own.
        source: Name of one of its sources, or of a file that was cut into several sources, which
            are all removed.

    Raises:
        GrowthRefused: The kernel was spawned, there is no such source, or no training text or no
            held-out text would be left.
    """
    name = domain.name
    if domain.counts is None:
        raise GrowthRefused(name, "it shares its queries with its parent; remove it first")
    gone = parts_of(source, domain.sources)
    if not gone:
        raise GrowthRefused(name, _unknown(domain, source))
    if set(gone) >= set(domain.train.sources):
        raise GrowthRefused(name, f"{source!r} is all its text; remove the kernel instead")
    if set(gone) >= set(domain.dev.sources) and len(domain.dev):
        raise GrowthRefused(
            name,
            f"{source!r} is all its held-out text, which calibration needs; "
            "remove the kernel instead",
        )
    train, dev = (_without(documents, gone) for documents in (domain.train, domain.dev))
    counts = count_domain(
        train.tokens(), name, vocab_size=domain.vocab_size, seed=domain.counts.seed
    )
    return replace(
        domain, train=train, dev=dev, counts=counts, unlearned=(*domain.unlearned, *gone)
    )


def _unknown(domain: Domain, source: str) -> str:
    kept = domain.sources
    near = ", ".join(nearest_names(source, kept, most=SOURCES_SHOWN))
    first = ", ".join(sorted(kept)[:SOURCES_SHOWN])
    return (
        f"it has no source {source!r}; nearest names: {near}; first of its {len(kept)} sources: "
        f"{first}; list all of them: constellation sources {domain.name}"
    )


def _without(documents: Documents, gone: tuple[str, ...]) -> Documents:
    if not set(gone) & set(documents.sources):
        return documents
    numbers = [number for number, name in enumerate(documents.sources) if name in set(gone)]
    return documents.select(np.flatnonzero(~np.isin(documents.source_N, numbers)))


def encode_documents(documents: Iterable[tuple[str, str]], tokens: Coordizer) -> Documents:
    """Encode (source, text) of documents to tokens, whole and without white space at their ends."""
    pairs = list(documents)
    texts = [text for _, text in pairs]
    whole = tokens.encode_batch(texts)
    counted = [evidence(text) for text in texts]
    differ = [row for row, text in enumerate(texts) if len(counted[row]) != len(text)]
    evidences = list(whole)
    for row, ids in zip(differ, tokens.encode_batch([counted[row] for row in differ]), strict=True):
        evidences[row] = ids
    dtype = token_dtype(tokens.vocab_size)
    return join_documents(whole, evidences, [source for source, _ in pairs], dtype=dtype)
