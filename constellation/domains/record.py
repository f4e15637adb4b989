"""The record of a kernel's text: tokens of its documents, split as they were.

Everything that is fitted for a kernel comes from its record, and from the records beside it. A
spawned kernel has no text of its own: its record names the documents of its family that count for
it. No query is ever part of a record.

Shapes: N documents.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.evidence import evidence
from constellation.coordizer.word_pieces import WordPieces
from constellation.domains.counts import SoftCounts, count_domain
from constellation.domains.encoded_documents import Documents, join_documents, token_dtype
from constellation.errors import ConfigError, GrowthRefused
from constellation.routing.source_names import nearest_names, parts_of
from constellation.wire.kernel_names import check_kernel_name

SOURCES_SHOWN = 5
"""Sources named when the one that is asked for is not there."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spawned:
    """How a spawned kernel came to be."""

    parent: str
    """The kernel whose documents it shares."""
    documents_N: NDArray[np.int64]
    """Training documents of the family's root that count for this kernel and its children."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Domain:
    """The text of one kernel, or of a spawned one its part of the parent's."""

    name: str
    """Of the kernel."""
    tokenizer_hash: str
    """sha256 (hex) of the vocabulary and merges that the tokens are of."""
    vocab_size: int
    """V, tokens of that vocabulary."""
    train: Documents
    """What coordinates and sites are made of; empty for a spawned kernel, as the two below."""
    dev: Documents
    """What is held out for radii, temperatures and thresholds."""
    counts: SoftCounts | None
    """Soft counts of `train`; None for a spawned kernel."""
    pieces: WordPieces | None = None
    """By which pieces of words count less in `counts`, when tokens were not learned from this
    domain; None when they were, or nobody knows."""
    unlearned: tuple[str, ...] = ()
    """Sources whose text is gone, in the order they went."""
    phi_gauge: float | None = None
    """Integration of the kernel, in [0, 1]; None when not measured."""
    spawned: Spawned | None = None
    """Of a spawned kernel."""

    def __post_init__(self) -> None:
        """Refuse a record whose parts do not fit each other."""
        check_kernel_name("name", self.name)
        if (self.spawned is None) != (self.counts is not None):
            raise ConfigError(f"domain {self.name!r} needs either text or a parent")
        for documents in (self.train, self.dev):
            tokens = (documents.tokens_T, documents.rest_T)
            if any(ids.size and int(ids.max()) >= self.vocab_size for ids in tokens):
                raise ConfigError(f"domain {self.name!r} has tokens beyond {self.vocab_size - 1}")

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources whose text the record holds, those of `train` first."""
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
    """Make the record of a kernel's text.

    Args:
        name: Of the kernel.
        train: Source and text of each training document, in order.
        dev: The same of the held-out documents.
        tokens: Encodes them; its coordinates do not matter. Where it says which domains its tokens
            were learned from, and this is none of them, pieces of words count less.
        seed: See `FitOptions.seed`.
        phi_gauge: See `Domain.phi_gauge`.

    Raises:
        ConfigError: There is no training document.
        InvalidRequest: The name cannot be a kernel's.
    """
    check_kernel_name("name", name)
    learned = encode_documents(train, tokens)
    if not len(learned):
        raise ConfigError(f"domain {name!r} has no training document; add text")
    pieces = _pieces(name, tokens)
    return Domain(
        name=name,
        tokenizer_hash=tokens.tokenizer_hash,
        vocab_size=tokens.vocab_size,
        train=learned,
        dev=encode_documents(dev, tokens),
        counts=count_domain(
            learned.tokens(), name, vocab_size=tokens.vocab_size, seed=seed, pieces=pieces
        ),
        pieces=pieces,
        phi_gauge=phi_gauge,
    )


def _pieces(name: str, tokens: Coordizer) -> WordPieces | None:
    """Return by what pieces of words count less, if tokens were learned from other domains."""
    learned_from = tokens.provenance.token_domains
    if not learned_from or name in learned_from:
        return None
    return WordPieces.of([tokens.token_bytes(token) for token in range(tokens.vocab_size)])


def unlearn(domain: Domain, source: str) -> Domain:
    """Return the record without the text of a source.

    All that is fitted from the new record is, to the bit, what a record would give that never held
    the text. What the kernel's weights learned is not undone.

    Args:
        domain: With text of its own.
        source: Name of one of its sources, or of a file that was cut into several: all go.

    Raises:
        GrowthRefused: The kernel was spawned, there is no such source, or without it there is no
            training text or no held-out text.
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
            f"{source!r} is all its held-out text, and without any nothing can be calibrated; "
            "remove the kernel instead",
        )
    train, dev = (_without(documents, gone) for documents in (domain.train, domain.dev))
    counts = count_domain(
        train.tokens(),
        name,
        vocab_size=domain.vocab_size,
        seed=domain.counts.seed,
        pieces=domain.pieces,
    )
    return replace(
        domain, train=train, dev=dev, counts=counts, unlearned=(*domain.unlearned, *gone)
    )


def _unknown(domain: Domain, source: str) -> str:
    kept = domain.sources
    near = ", ".join(nearest_names(source, kept, most=SOURCES_SHOWN))
    first = ", ".join(sorted(kept)[:SOURCES_SHOWN])
    return (
        f"no text of {source!r} counts for it; nearest names: {near}; of {len(kept)} sources "
        f"the first: {first}; all of them: constellation sources {domain.name}"
    )


def _without(documents: Documents, gone: tuple[str, ...]) -> Documents:
    if not set(gone) & set(documents.sources):
        return documents
    numbers = [number for number, name in enumerate(documents.sources) if name in set(gone)]
    return documents.select(np.flatnonzero(~np.isin(documents.source_N, numbers)))


def encode_documents(documents: Iterable[tuple[str, str]], tokens: Coordizer) -> Documents:
    """Return documents as tokens.

    Args:
        documents: Source and text of each, in order.
        tokens: Encodes them.
    """
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
