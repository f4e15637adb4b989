"""Train a coordizer on documents: learn BPE merges, then fit a simplex point for every token.

Shapes: V tokens of the vocabulary, K outcomes.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from itertools import repeat
from time import perf_counter
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from constellation.coordizer.artifacts import CoordizerParts, Provenance
from constellation.coordizer.blocks import outcomes_for
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.count_merges import train_count_merges
from constellation.coordizer.encoding import Encoder
from constellation.coordizer.phi_merges import train_phi_merges
from constellation.coordizer.statistics import inspect
from constellation.coordizer.vocabulary import Vocabulary, from_tokenizer
from constellation.errors import ConfigError
from constellation.records import TokenArray

if TYPE_CHECKING:
    from constellation.coordizer.coordinates import Coordinates

CRITERIA: dict[str, Callable[[Iterable[str], int], Tokenizer]] = {
    "count": train_count_merges,
    "phi": train_phi_merges,
}
"""Criterion by which merges are chosen -> trainer of merges."""

STATISTICS_DOCUMENTS_MAX = 200
"""Most documents on which a trained coordizer's statistics are measured."""


def train_coordizer(
    documents: Sequence[str],
    labels: Sequence[str] | None = None,
    *,
    vocab_size: int,
    criterion: str = "count",
    anchored: bool | None = None,
    seed: int = 0,
    num_outcomes: int = 64,
) -> Coordizer:
    """Train a coordizer (merges and token coordinates) on documents.

    Args:
        documents: Training texts, proper UTF-8.
        labels: The domain of each document; None when domains are not known.
        vocab_size: Most tokens, at least 257.
        criterion: "count" or "phi".
        anchored: Whether each domain gets outcomes of its own; None: True when labels are given.
        seed: Seed of the coordinates' fit; the result is a function of the arguments alone.
        num_outcomes: Least K; more domains than fit get a larger K.

    Raises:
        ConfigError: A setting is out of range, there are not as many labels as documents, or the
            documents hold no text.
    """
    anchored = labels is not None if anchored is None else anchored
    _check(documents, labels)
    _check_settings(criterion, anchored=anchored, labels=labels)
    start_s = perf_counter()
    vocabulary = train_vocabulary(documents, vocab_size=vocab_size, criterion=criterion)
    merged_s = perf_counter()
    coordinates = _fit(
        Encoder(vocabulary).encode_batch(documents),
        labels if anchored else None,
        vocab_size=len(vocabulary.tokens),
        num_outcomes=num_outcomes,
        seed=seed,
    )
    provenance = _provenance(documents, labels, seed, start_s, merged_s)
    coordizer = assemble(vocabulary, coordinates, provenance)
    return with_statistics(coordizer, documents[:: statistics_step(len(documents))])


def train_vocabulary(texts: Iterable[str], *, vocab_size: int, criterion: str) -> Vocabulary:
    """Learn the tokens and merges of texts, which are read once.

    Args:
        texts: Training texts, proper UTF-8.
        vocab_size: Most tokens, at least 257.
        criterion: "count" or "phi".

    Raises:
        ConfigError: `vocab_size` is below 257.
    """
    return from_tokenizer(CRITERIA[criterion](texts, vocab_size), criterion=criterion)


def assemble(
    vocabulary: Vocabulary, coordinates: "Coordinates", provenance: Provenance
) -> Coordizer:
    """Return the coordizer of a vocabulary and of coordinates that were fitted to its tokens."""
    parts = CoordizerParts(
        vocabulary=vocabulary,
        conditional_VK=coordinates.conditional(),
        background_K=coordinates.background_K,
        counts_VK=coordinates.counts_VK,
        blocks=coordinates.blocks,
        smoothing=coordinates.smoothing,
        provenance=provenance,
    )
    return Coordizer(parts)


def refit(
    coordizer: Coordizer,
    documents: Sequence[str],
    labels: Sequence[str] | None = None,
    *,
    seed: int = 0,
    num_outcomes: int = 64,
) -> Coordizer:
    """Fit new coordinates for the same tokens: anchored with labels, free without labels.

    Raises:
        ConfigError: There are not as many labels as documents, or the documents hold no text.
    """
    _check(documents, labels)
    start_s = perf_counter()
    coordinates = _fit(
        coordizer.encode_batch(documents),
        labels,
        vocab_size=coordizer.vocab_size,
        num_outcomes=num_outcomes,
        seed=seed,
    )
    provenance = replace(
        _provenance(documents, labels, seed, start_s, start_s),
        seconds_merges=coordizer.provenance.seconds_merges,
    )
    refitted = coordizer.with_coordinates(coordinates).with_provenance(provenance)
    return with_statistics(refitted, documents[:: statistics_step(len(documents))])


class CorpusDigest:
    """Size and sha256 of documents and labels that are added one by one."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.num_documents = 0
        self.num_bytes = 0
        """UTF-8 bytes of the documents."""

    def add(self, document: str, label: str = "") -> None:
        """Add the next document; labels and documents are preceded by their length."""
        data = document.encode()
        for part in (label.encode(), data):
            self._digest.update(len(part).to_bytes(8, "little"))
            self._digest.update(part)
        self.num_documents += 1
        self.num_bytes += len(data)

    def provenance(self, *, seed: int, seconds_merges: float, seconds_fit: float) -> Provenance:
        """Return the origin of a coordizer of these documents."""
        return Provenance(
            seconds_merges=round(seconds_merges, 3),
            seconds_coordinates=round(seconds_fit, 3),
            corpus_bytes=self.num_bytes,
            corpus_sha256=self._digest.hexdigest(),
            num_documents=self.num_documents,
            seed=seed,
        )


def _provenance(
    documents: Sequence[str],
    labels: Sequence[str] | None,
    seed: int,
    start_s: float,
    merged_s: float,
) -> Provenance:
    seconds_fit = perf_counter() - merged_s
    digest = CorpusDigest()
    for document, label in zip(documents, labels or repeat(""), strict=False):
        digest.add(document, label)
    return digest.provenance(seed=seed, seconds_merges=merged_s - start_s, seconds_fit=seconds_fit)


def _check_settings(criterion: str, *, anchored: bool, labels: Sequence[str] | None) -> None:
    if criterion not in CRITERIA:
        raise ConfigError(f"criterion is {criterion!r}; allowed: {', '.join(sorted(CRITERIA))}")
    if anchored and labels is None:
        raise ConfigError("anchored coordinates need the documents' labels")


def _check(documents: Sequence[str], labels: Sequence[str] | None) -> None:
    if labels is not None and len(labels) != len(documents):
        raise ConfigError(f"{len(documents)} documents need as many labels, got {len(labels)}")
    if not any(documents):
        raise ConfigError("cannot train a coordizer: the documents hold no text")
    for index, document in enumerate(documents):
        try:
            document.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"document {index} is not UTF-8 ({error})") from error


def _fit(
    tokens: Sequence[TokenArray],
    labels: Sequence[str] | None,
    *,
    vocab_size: int,
    num_outcomes: int,
    seed: int,
) -> "Coordinates":
    # Imported here: fitting needs scipy, whose import would slow down processes that only encode.
    from constellation.coordizer.coordinates import fit_anchored, fit_free

    if labels is None:
        return fit_free(tokens, vocab_size=vocab_size, num_outcomes=num_outcomes, seed=seed)
    num_outcomes = outcomes_for(len(set(labels)), num_outcomes)
    return fit_anchored(tokens, labels, vocab_size=vocab_size, num_outcomes=num_outcomes, seed=seed)


def statistics_step(num_documents: int) -> int:
    """Return the step in which documents are taken to measure a coordizer: at most 200."""
    return max(1, -(-num_documents // STATISTICS_DOCUMENTS_MAX))


def with_statistics(coordizer: Coordizer, documents: Sequence[str]) -> Coordizer:
    """Measure the coordizer on a few documents, and store the result."""
    statistics = asdict(inspect(coordizer, documents))
    return coordizer.with_provenance(replace(coordizer.provenance, statistics=statistics))
