"""Fit the routing table of a corpus and its coordizer, without a run's folder."""

from collections.abc import Mapping

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.prepare import PreparedCorpus
from constellation.domains.fit import FitOptions, Fitted
from constellation.domains.fit import fit_table as fit_records
from training.domain_records import domain_records


def fit_table(
    corpus: PreparedCorpus,
    coordizer: Coordizer,
    phi_gauges: Mapping[str, float],
    *,
    basins_max: int = 1,
) -> Fitted:
    """Fit basins and directions on training text and calibrate them on dev text.

    Args:
        corpus: One kernel per domain, of the same name.
        coordizer: Coordizer that computes the basins.
        phi_gauges: Kernel -> measured integration, [0, 1].
        basins_max: Most basins that one kernel routes by.

    Raises:
        CorpusError: A domain has no held-out passage to calibrate on.
    """
    options = FitOptions(seed=coordizer.provenance.seed, basins_max=basins_max)
    return fit_records(domain_records(corpus, coordizer, phi_gauges), coordizer, options)
