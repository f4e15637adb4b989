"""Thresholds of refusal for documents with their domains; `constellation.domains` fits them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Document
from constellation.domains.documents import Documents
from constellation.domains.thresholds import crossed, fit_thresholds, measured
from constellation.records import KernelSite, Refusal
from constellation.routing.sites import KernelTexts, fit_sites
from constellation.routing.thresholds import fit_refusal, join
from training.domain_records import encoded


@dataclass(frozen=True, kw_only=True, slots=True)
class _Text:
    name: str
    train: Documents
    dev: Documents


def table_refusal(
    train: Sequence[Document],
    dev: Sequence[Document],
    sites: Sequence[KernelSite],
    coordizer: Coordizer,
) -> Refusal:
    """Return the thresholds of a table whose sites and coordinates were fitted on `train`.

    Args:
        train: Documents that the sites and the coordinates are made of.
        dev: Documents that neither has seen, at least one.
        sites: One for every domain.
        coordizer: Whose basins the sites are.
    """
    texts = _texts((site.name for site in sites), train, dev, coordizer)
    return fit_thresholds(texts, sites, coordizer)


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
    own = _texts([texts.name], train, dev, coordizer)
    parts = [measured([own[0].dev.evidence()], sites, coordizer.folder, first=0)]
    parts += crossed(own, lambda _: coordizer.folder, coordizer)
    return fit_refusal(join(parts))


def _texts(
    names: Iterable[str],
    train: Sequence[Document],
    dev: Sequence[Document],
    coordizer: Coordizer,
) -> list[_Text]:
    return [
        _Text(
            name=name,
            train=encoded(train, name, coordizer),
            dev=encoded(dev, name, coordizer),
        )
        for name in names
    ]
