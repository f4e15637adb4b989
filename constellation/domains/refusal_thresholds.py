"""Thresholds of refusal of a set of records, measured on text that the table has not seen.

Where the held-out documents are few, training documents count too, each before coordinates and
sites that were fitted without it.

Shapes: K outcomes, N texts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from constellation.coordizer.blocks import allocate_blocks
from constellation.coordizer.coordinates import anchored, block_counts
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.factorise import WINDOW_TOKENS, count_windows
from constellation.coordizer.fold import Folder
from constellation.coordizer.word_pieces import WordPieces
from constellation.domains.calibration_passages import draw_passages
from constellation.domains.encoded_documents import Documents, IdArray
from constellation.domains.site_texts import plain_sites
from constellation.errors import ConfigError
from constellation.records import FloatArray, KernelSite, Refusal
from constellation.routing.threshold_fit import Measured, fit_refusal, join, measure

DOCUMENTS_WANTED = 1_600
"""Development documents with which training documents are not needed: a share of 1 % is then known
within half a percentage point, two standard errors. Training documents may be more alike than
those that nobody has seen (docs/log.md), so they count where development documents are few."""

TRAIN_SHARE_MIN = 2
"""Training documents for each development document from which on training documents count too:
fewer add little, and a fit to three quarters of them says less of the table."""

CROSS_FOLDS = 4
"""Parts of the training documents, each measured by a fit to the others."""

CROSS_CHARACTERS_MAX = 16 * 2**20
"""Characters of training text that are fitted again, `CROSS_FOLDS` times: a few seconds each."""

_CROSS_SEED = 0


class KernelText(Protocol):
    """The text of one kernel, such as a `Domain`."""

    @property
    def name(self) -> str:
        """Of the kernel."""

    @property
    def train(self) -> Documents:
        """What its site and the coordinates are made of."""

    @property
    def dev(self) -> Documents:
        """What neither has seen."""

    @property
    def pieces(self) -> WordPieces | None:
        """By which pieces of words count less; None counts every token whole."""


Refit = Callable[[Mapping[str, sparse.csr_array]], Folder]
"""Domain -> counts of its windows; returns a fold whose coordinates know these alone."""


@dataclass(frozen=True, slots=True)
class _Windows:
    """The training documents of a domain, counted once for all folds."""

    counts_WV: sparse.csr_array
    fold_W: NDArray[np.intp]
    """Fold of the document that each window is of."""

    @classmethod
    def of(cls, domain: KernelText, vocab_size: int) -> "_Windows":
        documents = domain.train
        counts_WV = count_windows(documents.tokens(), vocab_size=vocab_size, pieces=domain.pieces)
        sizes_N = -(-np.diff(documents.ends_N, prepend=0) // WINDOW_TOKENS)
        return cls(counts_WV, np.repeat(np.arange(len(documents)) % CROSS_FOLDS, sizes_N))

    def without(self, fold: int) -> sparse.csr_array:
        return self.counts_WV[self.fold_W != fold]


def fit_thresholds(
    domains: Sequence[KernelText],
    sites: Sequence[KernelSite],
    coordizer: Coordizer,
    *,
    smoothing: float = 1.0,
    basins_max: int = 1,
    trust_V: FloatArray | None = None,
) -> Refusal:
    """Return the thresholds of a table whose sites and coordinates were fitted on records.

    Args:
        domains: One for each kernel, with at least one held-out document in all.
        sites: Of these domains, in the same order.
        coordizer: Whose basins the sites are.
        smoothing: See `FitOptions.smoothing`.
        basins_max: See `FitOptions.basins_max`.
        trust_V: See `Coordinates.trust_V`.
    """
    parts = [measured([each.dev.evidence() for each in domains], sites, coordizer.folder, first=0)]
    if {domain.name for domain in domains} <= set(coordizer.parts.blocks):
        num_outcomes = coordizer.background_K.size

        def refit(windows: Mapping[str, sparse.csr_array]) -> Folder:
            return _refitted(
                windows, num_outcomes=num_outcomes, smoothing=smoothing, trust_V=trust_V
            )

        parts += crossed(domains, refit, coordizer, basins_max=basins_max)
    return fit_refusal(join(parts))


def crossed(
    domains: Sequence[KernelText], refit: Refit, tokens: Coordizer, *, basins_max: int = 1
) -> list[Measured]:
    """Return the training documents as tables see them that were made without them.

    Empty where enough is held out already, or where there is too much or too little to fit again.

    Args:
        domains: One for each kernel.
        refit: Makes coordinates without a part of the documents.
        tokens: What the documents are encoded by.
        basins_max: See `FitOptions.basins_max`.
    """
    num_held_out = sum(len(domain.dev) for domain in domains)
    num_train = sum(len(domain.train) for domain in domains)
    if num_held_out >= DOCUMENTS_WANTED or num_train < TRAIN_SHARE_MIN * num_held_out:
        return []
    if any(len(domain.train) < CROSS_FOLDS for domain in domains):
        return []
    if num_characters(domains, tokens) > CROSS_CHARACTERS_MAX:
        return []
    windows = {domain.name: _Windows.of(domain, tokens.vocab_size) for domain in domains}
    counted = {domain.name: domain.train.evidence() for domain in domains}
    parts, first = [], num_held_out
    for fold in range(CROSS_FOLDS):
        folder = refit({name: each.without(fold) for name, each in windows.items()})
        basins = {name: folder.fold_batch(_others(texts, fold)) for name, texts in counted.items()}
        try:
            sites = plain_sites(basins, folder.background_K, basins_max=basins_max)
        except ConfigError:  # a domain whose basin lies at the background without these documents
            return []
        own = [texts[fold::CROSS_FOLDS] for texts in counted.values()]
        parts.append(measured(own, sites, folder, first=first))
        first += sum(map(len, own))
    return parts


def num_characters(domains: Sequence[KernelText], tokens: Coordizer) -> int:
    """Return the characters of the training text of records, as Python counts them."""
    # Of the bytes of a character, all but the first are 10xxxxxx in UTF-8.
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
    windows: Mapping[str, sparse.csr_array],
    *,
    num_outcomes: int,
    smoothing: float,
    trust_V: FloatArray | None,
) -> Folder:
    blocks = allocate_blocks(sorted(windows), num_outcomes=num_outcomes)
    (vocab_size,) = {windows_WV.shape[1] for windows_WV in windows.values()}
    coordinates = anchored(
        blocks,
        lambda name: block_counts(windows[name], blocks, name, seed=_CROSS_SEED),
        vocab_size=vocab_size,
        num_outcomes=num_outcomes,
        smoothing=smoothing,
        trust_V=trust_V,
    )
    return Folder(coordinates.conditional(), coordinates.background_K)


def _others(texts: Sequence[IdArray], fold: int) -> list[IdArray]:
    return [text for row, text in enumerate(texts) if row % CROSS_FOLDS != fold]


def measured(
    documents: Sequence[Sequence[IdArray]],
    sites: Sequence[KernelSite],
    folder: Folder,
    *,
    first: int,
) -> Measured:
    """Return documents as a table sees them.

    Args:
        documents: Evidence of the documents of each kernel.
        sites: Of these kernels, in the same order.
        folder: Whose basins the sites are.
        first: Number of the first document.
    """
    found = draw_passages(documents)
    document_N: NDArray[np.intp] = found.document_N + first
    return measure(
        sites,
        folder.fold_batch(found.tokens),
        kernel_N=found.kernel_N,
        document_N=document_N,
        num_tokens_N=np.array([len(ids) for ids in found.tokens], dtype=np.intp),
        background_K=folder.background_K,
    )
