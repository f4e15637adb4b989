"""Group the basins (simplex points) of a kernel's documents by source, and make its table row.

Shapes: K outcomes, N documents.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation.records import FloatArray, KernelSite
from constellation.routing.site_fit import KernelTexts, fit_sites

SOURCES_MAX = 4096
"""Most sources of one domain whose basins are summed separately; with more, all documents form one
sum. In both cases the record stores every source, and each source can be unlearned."""

ALL_SOURCES = "all sources"
"""Name of the single sum of a domain with more than `SOURCES_MAX` sources."""


def texts_of(
    name: str, basins_NK: FloatArray, rows_by_source: Mapping[str, NDArray[Any]]
) -> KernelTexts:
    """Group the basins of a kernel's documents, N >= 1, by source."""
    rows = rows_by_source
    if len(rows) > SOURCES_MAX:
        rows = {ALL_SOURCES: np.arange(len(basins_NK))}
    corpora = {source: basins_NK[taken] for source, taken in rows.items()}
    return KernelTexts(name=name, corpora=corpora)


def plain_sites(
    basins: Mapping[str, FloatArray], background_K: FloatArray, *, basins_max: int
) -> tuple[KernelSite, ...]:
    """Return rows without seats, one sum per kernel, for documents that are never unlearned."""
    texts = [
        texts_of(name, basins_NK, {"train": np.arange(len(basins_NK))})
        for name, basins_NK in basins.items()
    ]
    return fit_sites(texts, background_K=background_K, seats=False, basins_max=basins_max).sites
