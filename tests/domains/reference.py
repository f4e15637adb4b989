"""The table of a corpus, document by document and from the text: what records must give as well.

This is how release 0.1.0 fitted a table: text is encoded where it is needed, and basins are folded
one by one.

Shapes: K outcomes, N texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import refit
from constellation.records import FloatArray, KernelSite, Table
from constellation.routing.calibration import calibrate, make_table
from constellation.routing.refusal_rule import LENGTHS
from constellation.routing.site_fit import KernelTexts, fit_sites
from constellation.routing.threshold_fit import Measured, fit_refusal, join, measure

FOLDS = 4
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class Text:
    """A document."""

    domain: str
    source: str
    text: str


def reference_table(train: Sequence[Text], dev: Sequence[Text], coordizer: Coordizer) -> Table:
    """Return the table of a corpus whose documents are in the order of their domains."""
    names = sorted({each.domain for each in train})
    kernels = [_texts_of(name, train, coordizer) for name in names]
    pi_K = coordizer.background_K
    sites = fit_sites(kernels, background_K=pi_K).sites
    passages, labels = _passages(dev, coordizer)
    calibration = calibrate(sites, passages, labels, background_K=pi_K)
    parts = [_measured(dev, sites, coordizer, 0), *_crossed(train, names, coordizer, len(dev))]
    return make_table(
        sites,
        calibration,
        background_K=pi_K,
        coordizer_hash=coordizer.hash,
        refusal=fit_refusal(join(parts)),
    )


def _basins(texts: Sequence[Text], coordizer: Coordizer) -> FloatArray:
    return np.stack([coordizer.basin(coordizer.encode(each.text.strip())) for each in texts])


def _texts_of(name: str, train: Sequence[Text], coordizer: Coordizer) -> KernelTexts:
    own = [each for each in train if each.domain == name]
    basins_NK = _basins(own, coordizer)
    rows: dict[str, list[int]] = {}
    for row, each in enumerate(own):
        rows.setdefault(each.source, []).append(row)
    corpora = {source: basins_NK[taken] for source, taken in rows.items()}
    return KernelTexts(name=name, corpora=corpora)


def _passages(dev: Sequence[Text], coordizer: Coordizer) -> tuple[FloatArray, list[str]]:
    basins, labels = [], []
    for each in dev:
        ids = coordizer.encode(each.text.strip())
        for start in range(0, max(0, len(ids) - 32) + 1 if len(ids) else 0, 32)[:8]:
            basins.append(coordizer.basin(ids[start : start + 32]))
            labels.append(each.domain)
    return np.stack(basins), labels


def _crossed(
    train: Sequence[Text], names: Sequence[str], coordizer: Coordizer, num_held_out: int
) -> list[Measured]:
    place: dict[str, int] = {}
    fold_of = []
    for each in train:
        place[each.domain] = place.get(each.domain, -1) + 1
        fold_of.append(place[each.domain] % FOLDS)
    parts, first = [], num_held_out
    for fold in range(FOLDS):
        others = [each for each, own in zip(train, fold_of, strict=True) if own != fold]
        own = [each for each, number in zip(train, fold_of, strict=True) if number == fold]
        refitted = refit(
            coordizer,
            [each.text for each in others],
            [each.domain for each in others],
            num_outcomes=coordizer.background_K.size,
        )
        texts = [
            KernelTexts(
                name=name,
                corpora={
                    "train": _basins([each for each in others if each.domain == name], refitted)
                },
            )
            for name in names
        ]
        sites = fit_sites(texts, background_K=refitted.background_K, seats=False).sites
        parts.append(_measured(own, sites, refitted, first))
        first += len(own)
    return parts


def _measured(
    documents: Sequence[Text], sites: Sequence[KernelSite], coordizer: Coordizer, first: int
) -> Measured:
    names = [site.name for site in sites]
    of_domain = max(64, min(256, 16_384 // len(names)))
    tokens, kernel, document = [], [], []
    for row, each in enumerate(documents):
        own = sum(other.domain == each.domain for other in documents)
        ids = coordizer.encode(each.text.strip())
        most = max(1, min(32, of_domain // own))
        if len(ids) < 32:
            cut = [ids] if len(ids) else []
        else:
            steps = (np.arange(most) + row * GOLDEN % 1) / most
            cut = [
                ids[start : start + length]
                for length in LENGTHS
                if length <= len(ids)
                for start in np.unique((steps * (len(ids) - length + 1)).astype(int))
            ]
        tokens += cut
        kernel += [names.index(each.domain)] * len(cut)
        document += [row + first] * len(cut)
    return measure(
        sites,
        np.stack([coordizer.basin(ids) for ids in tokens]),
        kernel_N=np.array(kernel, dtype=np.intp),
        document_N=np.array(document, dtype=np.intp),
        num_tokens_N=np.array([len(ids) for ids in tokens], dtype=np.intp),
        background_K=coordizer.background_K,
    )
