"""From trained kernels and text to the routing table: basins, seats, calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Document
from constellation.curricula.prepare import PreparedCorpus
from constellation.errors import CorpusError
from constellation.geometry.assignment import SeatAssignment
from constellation.records import FloatArray, Rule, Table
from constellation.routing.calibration import calibrate, make_table
from constellation.routing.sites import KernelTexts, fit_sites

PREFIX_TOKENS = 32
"""Length of the passages that radii and temperatures are calibrated on: a short query's."""

PASSAGES_PER_DOCUMENT = 8
"""Calibration passages taken from one held-out document, evenly from its start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedTable:
    """A routing table and what its fitting measured on the dev split."""

    table: Table
    seating: SeatAssignment | None
    accuracy: Mapping[Rule, float]
    """Share of held-out passages whose nearest kernel is their own."""
    num_passages: int


def fit_table(
    corpus: PreparedCorpus, coordizer: Coordizer, phi_gauges: Mapping[str, float]
) -> FittedTable:
    """Fit where kernels route from on training text and calibrate on dev text.

    Args:
        corpus: One kernel per domain, of the same name.
        coordizer: Whose basins these are.
        phi_gauges: Kernel -> measured integration, [0, 1].

    Raises:
        CorpusError: A domain has no held-out passage to calibrate on.
    """
    kernels = [
        KernelTexts(name=name).learn("train", domain_basins(corpus.train, name, coordizer))
        for name in corpus.domains
    ]
    fit = fit_sites(kernels, background_K=coordizer.background_K)
    sites = [replace(site, phi_gauge=phi_gauges.get(site.name)) for site in fit.sites]
    passages, labels = passage_basins(corpus.dev, coordizer)
    if missing := sorted(set(corpus.domains) - set(labels)):
        raise CorpusError(
            f"domain {missing[0]!r}",
            f"no held-out document has {PREFIX_TOKENS} tokens to calibrate on; add text",
        )
    calibration = calibrate(sites, passages, labels, background_K=coordizer.background_K)
    table = make_table(
        sites,
        calibration,
        background_K=coordizer.background_K,
        coordizer_hash=coordizer.hash,
    )
    return FittedTable(
        table=table,
        seating=fit.seating,
        accuracy=calibration.accuracy,
        num_passages=calibration.num_texts,
    )


def domain_basins(documents: Sequence[Document], domain: str, coordizer: Coordizer) -> FloatArray:
    """Return the basins of a domain's documents: what a kernel's basin is the mean of."""
    texts = [document.text for document in documents if document.domain == domain]
    return np.stack([coordizer.basin(ids) for ids in coordizer.encode_batch(texts)])


def passage_basins(
    documents: Sequence[Document], coordizer: Coordizer
) -> tuple[FloatArray, list[str]]:
    """Return basins of short passages and the domain of each."""
    basins, labels = [], []
    tokens = coordizer.encode_batch([document.text for document in documents])
    for document, ids in zip(documents, tokens, strict=True):
        for start in range(0, len(ids) - PREFIX_TOKENS + 1, PREFIX_TOKENS)[:PASSAGES_PER_DOCUMENT]:
            basins.append(coordizer.basin(ids[start : start + PREFIX_TOKENS]))
            labels.append(document.domain)
    return np.stack(basins) if basins else np.empty((0, 0)), labels
