"""Make records of a prepared corpus's domains, and the options of fitting coordinates to them."""

from collections.abc import Collection, Mapping, Sequence

from constellation.coordizer.blocks import NUM_OUTCOMES, outcomes_for
from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Document
from constellation.curricula.prepared_corpus import PreparedCorpus, documents_of
from constellation.domains.fit import FitOptions
from constellation.domains.record import Domain, make_domain


def domain_records(
    corpus: PreparedCorpus,
    coordizer: Coordizer,
    phi_gauges: Mapping[str, float] | None = None,
) -> tuple[Domain, ...]:
    """Return a record for each domain, in the order of names.

    `phi_gauges` maps a kernel to its measured integration, in [0, 1].
    """
    return tuple(
        make_domain(
            name,
            _pairs(corpus.train, name),
            _pairs(corpus.dev, name),
            coordizer,
            seed=coordizer.provenance.seed,
            phi_gauge=(phi_gauges or {}).get(name),
        )
        for name in corpus.domains
    )


def fit_options(coordizer: Coordizer, own: Collection[str], *, basins_max: int = 1) -> FitOptions:
    """Return how coordinates and table are fitted, as the training of a coordizer did it.

    Args:
        coordizer: Coordizer of the training.
        own: Names of the kernels that the training made. Where the coordizer is anchored to others,
            as in mode synchronized, its coordinates are kept.
        basins_max: See `FitOptions.basins_max`.
    """
    parts = coordizer.parts
    return FitOptions(
        seed=parts.provenance.seed,
        num_outcomes=_wanted_outcomes(coordizer),
        smoothing=parts.smoothing,
        basins_max=basins_max,
        keep_coordinates=not parts.blocks or set(parts.blocks) != set(own),
    )


def _wanted_outcomes(coordizer: Coordizer) -> int:
    """Return K as configured, which is less than the actual K where many domains needed more."""
    size = int(coordizer.background_K.size)
    needed = outcomes_for(len(coordizer.parts.blocks), NUM_OUTCOMES)
    return NUM_OUTCOMES if size == needed else size


def _pairs(documents: Sequence[Document], domain: str) -> list[tuple[str, str]]:
    return [(each.source, each.text) for each in documents_of(documents, domain)]
