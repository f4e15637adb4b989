"""From a prepared corpus to records of its domains."""

from collections.abc import Iterable, Mapping

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Document
from constellation.curricula.prepare import PreparedCorpus
from constellation.domains.documents import Documents
from constellation.domains.record import Domain, encode_documents, make_domain


def domain_records(
    corpus: PreparedCorpus,
    coordizer: Coordizer,
    phi_gauges: Mapping[str, float] | None = None,
) -> tuple[Domain, ...]:
    """Return a record for each domain, in the order of names.

    Args:
        corpus: One kernel per domain, of the same name.
        coordizer: Encodes the text; the seed of its coordinates is that of the soft counts.
        phi_gauges: Kernel -> measured integration, in [0, 1].
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


def encoded(documents: Iterable[Document], domain: str, coordizer: Coordizer) -> Documents:
    """Return the documents of one domain as tokens."""
    return encode_documents(_pairs(documents, domain), coordizer)


def _pairs(documents: Iterable[Document], domain: str) -> list[tuple[str, str]]:
    return [(each.source, each.text) for each in documents if each.domain == domain]
