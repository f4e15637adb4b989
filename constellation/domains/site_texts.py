"""From the documents of a record to what a kernel's site is made of.

Shapes: K outcomes, N documents.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation.records import FloatArray, KernelSite
from constellation.routing.site_fit import KernelTexts, SiteFit, fit_sites

SOURCES_MAX = 4096
"""Sources of one domain whose basins are summed apart; of more, all documents are one sum. Either
way the record knows every source, and each can be unlearned."""

ALL_SOURCES = "all sources"
"""Name of the one sum of a domain that has more."""


def texts_of(
    name: str, basins_NK: FloatArray, rows_by_source: Mapping[str, NDArray[Any]]
) -> KernelTexts:
    """Return what a kernel's site is made of.

    Args:
        name: Of the kernel.
        basins_NK: Basins of its documents, N >= 1.
        rows_by_source: Source -> its documents.
    """
    rows = rows_by_source
    if len(rows) > SOURCES_MAX:
        rows = {ALL_SOURCES: np.arange(len(basins_NK))}
    corpora = {source: basins_NK[taken] for source, taken in rows.items()}
    return KernelTexts(name=name, corpora=corpora)


def sites_of(
    texts: Sequence[KernelTexts], background_K: FloatArray, *, seats: bool, basins_max: int
) -> SiteFit:
    """Return the sites of kernels; raises as `fit_sites`."""
    return fit_sites(texts, background_K=background_K, seats=seats, basins_max=basins_max)


def plain_sites(
    basins: Mapping[str, FloatArray], background_K: FloatArray, *, basins_max: int
) -> tuple[KernelSite, ...]:
    """Return sites of documents that nobody will unlearn: without seats, each one sum."""
    texts = [
        texts_of(name, basins_NK, {"train": np.arange(len(basins_NK))})
        for name, basins_NK in basins.items()
    ]
    return sites_of(texts, background_K, seats=False, basins_max=basins_max).sites
