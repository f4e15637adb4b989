"""Train a coordizer on documents: learn BPE merges, then fit a simplex point for every token.

Shapes: V tokens of the vocabulary, K outcomes.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
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
from constellation.coordizer.vocabulary import from_tokenizer
from constellation.errors import ConfigError
from constellation.records import TokenArray

if TYPE_CHECKING:
    from constellation.coordizer.coordinates import Coordinates

CRITERIA: dict[str, Callable[[Sequence[str], int], Tokenizer]] = {
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
    vocabulary = from_tokenizer(CRITERIA[criterion](documents, vocab_size), criterion=criterion)
    merged_s = perf_counter()
    coordinates = _fit(
        Encoder(vocabulary).encode_batch(documents),
        labels if anchored else None,
        vocab_size=len(vocabulary.tokens),
        num_outcomes=num_outcomes,
        seed=seed,
    )
    parts = CoordizerParts(
        vocabulary=vocabulary,
        conditional_VK=coordinates.conditional(),
        background_K=coordinates.background_K,
        counts_VK=coordinates.counts_VK,
        blocks=coordinates.blocks,
        smoothing=coordinates.smoothing,
        provenance=_provenance(documents, labels, seed, start_s, merged_s),
    )
    return _with_statistics(Coordizer(parts), documents)


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
    return _with_statistics(refitted, documents)


def _provenance(
    documents: Sequence[str],
    labels: Sequence[str] | None,
    seed: int,
    start_s: float,
    merged_s: float,
) -> Provenance:
    return Provenance(
        seconds_merges=round(merged_s - start_s, 3),
        seconds_coordinates=round(perf_counter() - merged_s, 3),
        corpus_bytes=sum(len(document.encode()) for document in documents),
        corpus_sha256=_corpus_sha256(documents, labels),
        num_documents=len(documents),
        seed=seed,
    )


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


def _with_statistics(coordizer: Coordizer, documents: Sequence[str]) -> Coordizer:
    """Measure the coordizer on at most 200 documents, taken at even steps, and store the result."""
    step = -(-len(documents) // STATISTICS_DOCUMENTS_MAX)
    statistics = asdict(inspect(coordizer, documents[::step]))
    return coordizer.with_provenance(replace(coordizer.provenance, statistics=statistics))


def _corpus_sha256(documents: Sequence[str], labels: Sequence[str] | None) -> str:
    """Return the sha256 of labels and documents in order, each preceded by its length."""
    digest = hashlib.sha256()
    for index, document in enumerate(documents):
        for part in (labels[index] if labels is not None else "", document):
            data = part.encode()
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return digest.hexdigest()
