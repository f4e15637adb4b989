"""From trained kernels and text to the routing table: basins, seats, calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.evidence import evidence
from constellation.curricula.corpus import Document
from constellation.curricula.prepare import PreparedCorpus
from constellation.errors import CorpusError
from constellation.geometry.assignment import SeatAssignment
from constellation.records import FloatArray, Rule, Table
from constellation.routing.calibration import calibrate, make_table
from constellation.routing.sites import KernelTexts, fit_sites
from training.refusal import table_refusal

PREFIX_TOKENS = 32
"""Length of the passages that radii and temperatures are calibrated on: a short query's. A document
that is shorter is a passage as it stands."""

SOURCES_MAX = 4096
"""Sources of one domain that have records of their own: 512 bytes each, and their names."""

ALL_SOURCES = "all sources"
"""Name of the one record of a domain that has more."""

PASSAGES_PER_DOCUMENT = 8
"""Calibration passages taken from one held-out document, evenly from its start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedTable:
    """A routing table and what its fitting measured on the dev split."""

    table: Table
    texts: tuple[KernelTexts, ...]
    """What the kernels' basins are made of, in the order of the table."""
    seating: SeatAssignment | None
    accuracy: Mapping[Rule, float]
    """Share of held-out passages whose nearest kernel is their own."""
    num_passages: int


def fit_table(
    corpus: PreparedCorpus,
    coordizer: Coordizer,
    phi_gauges: Mapping[str, float],
    *,
    basins_max: int = 1,
) -> FittedTable:
    """Fit where kernels route from on training text and calibrate on dev text.

    Args:
        corpus: One kernel per domain, of the same name.
        coordizer: Whose basins these are.
        phi_gauges: Kernel -> measured integration, [0, 1].
        basins_max: Most basins of one kernel.

    Raises:
        CorpusError: A domain has no held-out passage to calibrate on.
    """
    kernels = tuple(kernel_texts(corpus.train, name, coordizer) for name in corpus.domains)
    fit = fit_sites(kernels, background_K=coordizer.background_K, basins_max=basins_max)
    sites = [replace(site, phi_gauge=phi_gauges.get(site.name)) for site in fit.sites]
    passages, labels = passage_basins(corpus.dev, coordizer)
    if missing := sorted(set(corpus.domains) - set(labels)):
        raise CorpusError(
            f"domain {missing[0]!r}",
            "no held-out document has a token to calibrate on; add text",
        )
    calibration = calibrate(sites, passages, labels, background_K=coordizer.background_K)
    table = make_table(
        sites,
        calibration,
        background_K=coordizer.background_K,
        coordizer_hash=coordizer.hash,
        refusal=table_refusal(corpus.train, corpus.dev, sites, coordizer, basins_max=basins_max),
    )
    return FittedTable(
        table=table,
        texts=kernels,
        seating=fit.seating,
        accuracy=calibration.accuracy,
        num_passages=calibration.num_texts,
    )


def kernel_texts(documents: Sequence[Document], domain: str, coordizer: Coordizer) -> KernelTexts:
    """Return what a kernel's basin is made of: a record for each source of a domain.

    A source can be unlearned by its record alone. More than `SOURCES_MAX` of them are kept as one.
    """
    basins_NK = domain_basins(documents, domain, coordizer)
    rows: dict[str, list[int]] = {}
    own = (document for document in documents if document.domain == domain)
    for row, document in enumerate(own):
        rows.setdefault(document.source, []).append(row)
    if len(rows) > SOURCES_MAX:
        rows = {ALL_SOURCES: list(range(len(basins_NK)))}
    return KernelTexts(
        name=domain, corpora={source: basins_NK[taken] for source, taken in rows.items()}
    )


def domain_basins(documents: Sequence[Document], domain: str, coordizer: Coordizer) -> FloatArray:
    """Return the basins of a domain's documents: what a kernel's basin is the mean of."""
    texts = [evidence(document.text) for document in documents if document.domain == domain]
    return np.stack([coordizer.basin(ids) for ids in coordizer.encode_batch(texts)])


def passage_basins(
    documents: Sequence[Document], coordizer: Coordizer
) -> tuple[FloatArray, list[str]]:
    """Return basins of short passages and the domain of each."""
    basins, labels = [], []
    tokens = coordizer.encode_batch([evidence(document.text) for document in documents])
    for document, ids in zip(documents, tokens, strict=True):
        last = max(0, len(ids) - PREFIX_TOKENS)
        for start in range(0, last + 1 if len(ids) else 0, PREFIX_TOKENS)[:PASSAGES_PER_DOCUMENT]:
            basins.append(coordizer.basin(ids[start : start + PREFIX_TOKENS]))
            labels.append(document.domain)
    return np.stack(basins) if basins else np.empty((0, 0)), labels
