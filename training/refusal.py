"""Draw the held-out texts that a table's thresholds of refusal are fitted on, and measure them.

A document shorter than `SHORT_TOKENS` is a query as it stands. A longer one is cut into passages
of every length that thresholds are fitted for. Where the development split is small, training
documents count too, each before coordinates and basins that were fitted without it.

Shapes: K outcomes, N texts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.evidence import evidence
from constellation.coordizer.training import refit
from constellation.curricula.corpus import Document
from constellation.errors import ConfigError
from constellation.records import KernelSite, Refusal, TokenArray
from constellation.routing.refusal import LENGTHS
from constellation.routing.sites import KernelTexts, fit_sites
from constellation.routing.thresholds import Measured, fit_refusal, join, measure

SHORT_TOKENS = 32
"""A document of fewer tokens counts whole: a cut from its middle is not what people ask."""

PASSAGES_OF_DOCUMENT = 32
"""Most passages of one length cut from one document."""

PASSAGES_OF_DOMAIN = 256
"""Passages of one length cut from one domain, about."""

PASSAGES_MAX = 16_384
"""Passages of one length, about: more domains get fewer each, but `_DOMAIN_MIN`."""

DOCUMENTS_WANTED = 1_600
"""Development documents with which training documents are not needed: a share of 1 % is then known
within half a percentage point, two standard errors. Training documents may be more alike than
those that nobody has seen (docs/log.md), so they count where development documents are few."""

TRAIN_SHARE_MIN = 2
"""Training documents for each development document from which on training documents count too:
fewer add little, and a fit to three quarters of them says less of the table."""

CROSS_FOLDS = 4
"""Parts of the training documents, each measured by a fit to the others."""

CROSS_BYTES_MAX = 16 * 2**20
"""Training text that is fitted again, `CROSS_FOLDS` times: a few seconds each."""

_DOMAIN_MIN = 64
_GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it spread evenly over [0, 1): few passages a document do not all open one."""

Refit = Callable[[Sequence[Document]], Coordizer]
"""Makes a coordizer whose coordinates know these documents alone."""


@dataclass(frozen=True, slots=True)
class Passages:
    """Held-out texts with what they are from."""

    tokens: list[TokenArray]
    kernel_N: NDArray[np.intp]
    document_N: NDArray[np.intp]


def table_refusal(
    train: Sequence[Document],
    dev: Sequence[Document],
    sites: Sequence[KernelSite],
    coordizer: Coordizer,
    *,
    basins_max: int = 1,
) -> Refusal:
    """Return the thresholds of a table whose sites and coordinates were fitted on `train`.

    Args:
        train: Documents that the sites and the coordinates are made of.
        dev: Documents that neither has seen, at least one.
        sites: One for every domain.
        coordizer: Whose basins the sites are.
        basins_max: Most basins of one site, as the sites were found with.
    """
    names = [site.name for site in sites]
    parts = [_measured(dev, sites, coordizer, first_document=0)]
    if set(names) <= set(coordizer.parts.blocks):  # coordinates that were anchored to them

        def refitted(documents: Sequence[Document]) -> Coordizer:
            texts = [document.text for document in documents]
            labels = [document.domain for document in documents]
            outcomes = coordizer.background_K.size
            return refit(coordizer, texts, labels, num_outcomes=outcomes)

        parts += _crossed(train, names, refitted, num_held_out=len(dev), basins_max=basins_max)
    return fit_refusal(join(parts))


def kernel_refusal(
    train: Sequence[Document], dev: Sequence[Document], texts: KernelTexts, coordizer: Coordizer
) -> Refusal:
    """Return the thresholds of a kernel alone, which joins others under their coordinates.

    The coordinates know none of its documents, so that leaving one out of the basin is enough.

    Args:
        train: Documents of the kernel's basin.
        dev: Others of its domain, at least one.
        texts: What the kernel's basin is made of.
        coordizer: Of the table that it joins.
    """
    sites = fit_sites([texts], background_K=coordizer.background_K, seats=False).sites
    parts = [_measured(dev, sites, coordizer, first_document=0)]
    parts += _crossed(train, [texts.name], lambda _: coordizer, num_held_out=len(dev), basins_max=1)
    return fit_refusal(join(parts))


def _crossed(
    train: Sequence[Document],
    names: Sequence[str],
    refitted: Refit,
    *,
    num_held_out: int,
    basins_max: int,
) -> list[Measured]:
    """Return the training documents as tables see them that were made without them.

    Empty where enough is held out already, or where there is too much or too little to fit again.
    """
    num_bytes = sum(len(document.text) for document in train)
    if num_held_out >= DOCUMENTS_WANTED or num_bytes > CROSS_BYTES_MAX:
        return []
    if len(train) < TRAIN_SHARE_MIN * num_held_out:
        return []
    place: dict[str, int] = {}
    fold_of = []
    for document in train:  # every domain is shared out to the folds by turns
        place[document.domain] = place.get(document.domain, -1) + 1
        fold_of.append(place[document.domain] % CROSS_FOLDS)
    if any(place.get(name, -1) + 1 < CROSS_FOLDS for name in names):
        return []
    parts, first_document = [], num_held_out
    for fold in range(CROSS_FOLDS):
        others = [each for each, own in zip(train, fold_of, strict=True) if own != fold]
        own_documents = [each for each, own in zip(train, fold_of, strict=True) if own == fold]
        coordizer = refitted(others)
        try:
            sites = _sites(others, names, coordizer, basins_max)
        except ConfigError:  # a domain whose basin lies at the background without these documents
            return []
        parts.append(_measured(own_documents, sites, coordizer, first_document=first_document))
        first_document += len(own_documents)
    return parts


def _sites(
    documents: Sequence[Document], names: Sequence[str], coordizer: Coordizer, basins_max: int
) -> tuple[KernelSite, ...]:
    kernels = []
    for name in names:
        texts = [evidence(each.text) for each in documents if each.domain == name]
        basins_NK = np.stack([coordizer.basin(ids) for ids in coordizer.encode_batch(texts)])
        kernels.append(KernelTexts(name=name, corpora={"train": basins_NK}))
    return fit_sites(
        kernels, background_K=coordizer.background_K, seats=False, basins_max=basins_max
    ).sites


def _measured(
    documents: Sequence[Document],
    sites: Sequence[KernelSite],
    coordizer: Coordizer,
    *,
    first_document: int,
) -> Measured:
    found = draw_passages(documents, [site.name for site in sites], coordizer)
    return measure(
        sites,
        np.array([coordizer.basin(ids) for ids in found.tokens]).reshape(
            -1, coordizer.background_K.size
        ),
        kernel_N=found.kernel_N,
        document_N=found.document_N + first_document,
        num_tokens_N=np.array([len(ids) for ids in found.tokens], dtype=np.intp),
        background_K=coordizer.background_K,
    )


def draw_passages(
    documents: Sequence[Document], names: Sequence[str], coordizer: Coordizer
) -> Passages:
    """Return short documents whole, and passages of every length of longer ones; no randomness."""
    number = {name: place for place, name in enumerate(names)}
    rows = [row for row, document in enumerate(documents) if document.domain in number]
    kernels = [number[documents[row].domain] for row in rows]
    texts = [evidence(documents[row].text) for row in rows]
    of_domain = max(_DOMAIN_MIN, min(PASSAGES_OF_DOMAIN, PASSAGES_MAX // len(names)))
    num_documents = np.bincount(np.array(kernels, dtype=np.intp), minlength=len(names))
    tokens: list[TokenArray] = []
    kernel, document = [], []
    for row, place, ids in zip(rows, kernels, coordizer.encode_batch(texts), strict=True):
        each = max(1, min(PASSAGES_OF_DOCUMENT, of_domain // int(num_documents[place])))
        cut = _cut(ids, each, part=row * _GOLDEN % 1)
        tokens += cut
        kernel += [place] * len(cut)
        document += [row] * len(cut)
    return Passages(tokens, np.array(kernel, dtype=np.intp), np.array(document, dtype=np.intp))


def _cut(ids: TokenArray, passages_max: int, *, part: float) -> list[TokenArray]:
    """Return passages at even steps, the first of them `part` of a step from the start."""
    if len(ids) < SHORT_TOKENS:
        return [ids] if len(ids) else []
    steps = (np.arange(passages_max) + part) / passages_max
    return [
        ids[start : start + length]
        for length in LENGTHS
        if length <= len(ids)
        for start in np.unique((steps * (len(ids) - length + 1)).astype(int))
    ]
