"""From trained kernels and text to the routing table."""

from collections.abc import Mapping, Sequence

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Document
from constellation.curricula.prepare import PreparedCorpus
from constellation.domains.basins import texts_of
from constellation.domains.documents import IdArray
from constellation.domains.fitting import Fitted
from constellation.domains.fitting import fit_table as fit_records
from constellation.domains.passages import first_passages
from constellation.records import FloatArray
from constellation.routing.sites import KernelTexts
from training.domain_records import domain_records, encoded


def fit_table(
    corpus: PreparedCorpus, coordizer: Coordizer, phi_gauges: Mapping[str, float]
) -> Fitted:
    """Fit where kernels route from on training text and calibrate on dev text.

    Args:
        corpus: One kernel per domain, of the same name.
        coordizer: Whose basins these are.
        phi_gauges: Kernel -> measured integration, [0, 1].

    Raises:
        CorpusError: A domain has no held-out passage to calibrate on.
    """
    return fit_records(domain_records(corpus, coordizer, phi_gauges), coordizer)


def kernel_texts(documents: Sequence[Document], domain: str, coordizer: Coordizer) -> KernelTexts:
    """Return what the basin of a domain's kernel is made of."""
    own = encoded(documents, domain, coordizer)
    basins_NK = coordizer.folder.fold_batch(own.evidence())
    return texts_of(domain, basins_NK, own.rows_by_source())


def domain_basins(documents: Sequence[Document], domain: str, coordizer: Coordizer) -> FloatArray:
    """Return the basins of a domain's documents: what a kernel's basin is the mean of."""
    return coordizer.folder.fold_batch(encoded(documents, domain, coordizer).evidence())


def passage_basins(
    documents: Sequence[Document], coordizer: Coordizer
) -> tuple[FloatArray, list[str]]:
    """Return basins of short passages and the domain of each, domain after domain."""
    passages: list[IdArray] = []
    labels: list[str] = []
    for name in dict.fromkeys(document.domain for document in documents):
        own = first_passages(encoded(documents, name, coordizer).evidence())
        passages += own
        labels += [name] * len(own)
    return np.asarray(coordizer.folder.fold_batch(passages)), labels
