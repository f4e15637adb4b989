"""Fit the thresholds that refuse out-of-domain queries, on text the routing table has not seen.

Where there are few held-out documents, training documents are used too, each measured with
coordinates and basins that were fitted without that document (cross-validation).

Shapes: K outcomes, N texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from constellation.coordizer.basin_estimator import BasinEstimator
from constellation.coordizer.blocks import allocate_blocks
from constellation.coordizer.coordinates import anchored, block_counts
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.count_factorisation import WINDOW_TOKENS, count_windows
from constellation.domains.calibration_passages import draw_passages
from constellation.domains.encoded_documents import Documents, IdArray
from constellation.domains.record import Domain
from constellation.domains.site_texts import plain_sites
from constellation.errors import ConfigError
from constellation.records import KernelSite, Refusal
from constellation.routing.threshold_fit import Measured, fit_refusal, join, measure

DOCUMENTS_WANTED = 1_600
"""Number of held-out documents from which on training documents are not used: a share of 1 % is
then known within half a percentage point, two standard errors. Training documents may resemble each
other more than unseen documents do (docs/log.md), so they are used only where held-out documents
are few."""

TRAIN_SHARE_MIN = 2
"""Least number of training documents per held-out document for training documents to be used: fewer
add little, and a fit to three quarters of them represents the table less well."""

CROSS_FOLDS = 4
"""Number of parts of the training documents; each part is measured by a fit to the other parts."""

CROSS_CHARACTERS_MAX = 16 * 2**20
"""Most characters of training text that are fitted again, `CROSS_FOLDS` times: a few seconds
each."""

_CROSS_SEED = 0


@dataclass(frozen=True, slots=True)
class _Windows:
    """Token counts of a domain's training documents, computed once for all folds."""

    counts_WV: sparse.csr_array
    fold_W: NDArray[np.intp]
    """Cross-validation fold of the document that each window belongs to."""

    @classmethod
    def of(cls, documents: Documents, vocab_size: int) -> "_Windows":
        counts_WV = count_windows(documents.tokens(), vocab_size=vocab_size)
        sizes_N = -(-np.diff(documents.ends_N, prepend=0) // WINDOW_TOKENS)
        return cls(counts_WV, np.repeat(np.arange(len(documents)) % CROSS_FOLDS, sizes_N))

    def without(self, fold: int) -> sparse.csr_array:
        return self.counts_WV[self.fold_W != fold]


def fit_thresholds(
    domains: Sequence[Domain],
    sites: Sequence[KernelSite],
    coordizer: Coordizer,
    *,
    smoothing: float,
    basins_max: int,
) -> Refusal:
    """Fit the thresholds of refusal for a table and its coordinates.

    `sites` are the rows of the domains, in the same order; at least one domain has a held-out
    document. See `FitOptions` for the other options.
    """
    parts = [
        measured(
            [each.dev.evidence() for each in domains], sites, coordizer.basin_estimator, first=0
        )
    ]
    if {domain.name for domain in domains} <= set(coordizer.parts.blocks):
        parts += crossed(domains, coordizer, smoothing=smoothing, basins_max=basins_max)
    return fit_refusal(join(parts))


def crossed(
    domains: Sequence[Domain], tokens: Coordizer, *, smoothing: float, basins_max: int
) -> list[Measured]:
    """Measure training documents by cross-validation, with fits that did not use the documents.

    Empty when there are enough held-out documents, or too much or too little text to fit again.
    """
    num_held_out = sum(len(domain.dev) for domain in domains)
    num_train = sum(len(domain.train) for domain in domains)
    if num_held_out >= DOCUMENTS_WANTED or num_train < TRAIN_SHARE_MIN * num_held_out:
        return []
    if any(len(domain.train) < CROSS_FOLDS for domain in domains):
        return []
    if num_characters(domains, tokens) > CROSS_CHARACTERS_MAX:
        return []
    windows = {domain.name: _Windows.of(domain.train, tokens.vocab_size) for domain in domains}
    counted = {domain.name: domain.train.evidence() for domain in domains}
    parts, first = [], num_held_out
    for fold in range(CROSS_FOLDS):
        estimator = _refitted(
            {name: each.without(fold) for name, each in windows.items()},
            num_outcomes=tokens.background_K.size,
            smoothing=smoothing,
        )
        basins = {name: estimator.basins(_others(texts, fold)) for name, texts in counted.items()}
        try:
            sites = plain_sites(basins, estimator.background_K, basins_max=basins_max)
        except ConfigError:  # a domain whose basin lies at the background without these documents
            return []
        own = [texts[fold::CROSS_FOLDS] for texts in counted.values()]
        parts.append(measured(own, sites, estimator, first=first))
        first += sum(map(len, own))
    return parts


def num_characters(domains: Sequence[Domain], tokens: Coordizer) -> int:
    """Return the number of characters of all training text, as Python counts them."""
    # In UTF-8 all bytes of a character except the first are 10xxxxxx.
    characters_V = np.array(
        [
            sum(byte & 0xC0 != 0x80 for byte in tokens.token_bytes(token))
            for token in range(tokens.vocab_size)
        ]
    )
    return sum(
        int(np.bincount(domain.train.tokens_T, minlength=len(characters_V)) @ characters_V)
        for domain in domains
    )


def _refitted(
    windows: Mapping[str, sparse.csr_array], *, num_outcomes: int, smoothing: float
) -> BasinEstimator:
    blocks = allocate_blocks(sorted(windows), num_outcomes=num_outcomes)
    (vocab_size,) = {windows_WV.shape[1] for windows_WV in windows.values()}
    coordinates = anchored(
        blocks,
        lambda name: block_counts(windows[name], blocks, name, seed=_CROSS_SEED),
        vocab_size=vocab_size,
        num_outcomes=num_outcomes,
        smoothing=smoothing,
    )
    return BasinEstimator(coordinates.conditional(), coordinates.background_K)


def _others(texts: Sequence[IdArray], fold: int) -> list[IdArray]:
    return [text for row, text in enumerate(texts) if row % CROSS_FOLDS != fold]


def measured(
    documents: Sequence[Sequence[IdArray]],
    sites: Sequence[KernelSite],
    estimator: BasinEstimator,
    *,
    first: int,
) -> Measured:
    """Measure the excess distances of documents' passages under a table.

    `documents` are the evidence tokens of each kernel's documents, numbered from `first`; `sites`
    are the rows of these kernels, in the same order.
    """
    found = draw_passages(documents)
    document_N: NDArray[np.intp] = found.document_N + first
    return measure(
        sites,
        estimator.basins(found.tokens),
        kernel_N=found.kernel_N,
        document_N=document_N,
        num_tokens_N=np.array([len(ids) for ids in found.tokens], dtype=np.intp),
        background_K=estimator.background_K,
    )
