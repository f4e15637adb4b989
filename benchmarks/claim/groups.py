"""Other ways to divide the text among experts than by its domains: by chance, and by k-means."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import refit
from constellation.curricula.corpus import Document
from constellation.curricula.prepare import PreparedCorpus
from constellation.curricula.split import SPLITS
from constellation.errors import ConfigError
from constellation.geometry.simplex import pairwise_distances
from constellation.records import FloatArray
from constellation.routing.balanced_clusters import cluster_balanced

Label = Callable[[Document], str]


def random_groups(corpus: PreparedCorpus, num_groups: int, *, seed: int) -> PreparedCorpus:
    """Return the corpus with its sources dealt out to random groups.

    Groups get about equal numbers of characters in every split; a source stays whole.
    """
    names = _names("random", num_groups)
    dealt = {
        source: name
        for split in SPLITS
        for source, name in _deal(
            corpus.of_split(split), names, random.Random(f"{seed} {split}")
        ).items()
    }
    return _relabelled(corpus, lambda document: dealt[document.source])


def discovered_groups(
    corpus: PreparedCorpus, coordizer: Coordizer, num_groups: int, *, seed: int
) -> PreparedCorpus:
    """Return the corpus in groups that balanced k-means finds without looking at domains.

    Training documents define the groups, under free coordinates; those held out join the nearest.

    Raises:
        ConfigError: There are more groups than development documents.
    """
    if num_groups > len(corpus.dev):
        raise ConfigError(
            f"{num_groups} groups need as many development documents, found {len(corpus.dev)}"
        )
    texts = [document.text for document in corpus.train]
    free = refit(coordizer, texts, seed=seed)
    shards = cluster_balanced(_basins(free, corpus.train), num_shards=num_groups, seed=seed)
    names = np.array(_names("shard", num_groups))
    found = {
        _id(d): str(name) for d, name in zip(corpus.train, names[shards.labels_N], strict=True)
    }
    for split in ("dev", "test"):
        documents = corpus.of_split(split)
        places_N = _join(_basins(free, documents), shards.centres_MK)
        found |= {_id(d): str(names[place]) for d, place in zip(documents, places_N, strict=True)}
    return _relabelled(corpus, lambda document: found[_id(document)])


def _names(kind: str, count: int) -> list[str]:
    return [f"{kind}-{number:02}" for number in range(count)]


def _id(document: Document) -> tuple[str, int, str]:
    return document.source, document.part, document.text


def _basins(coordizer: Coordizer, documents: Sequence[Document]) -> FloatArray:
    tokens = coordizer.encode_batch([document.text for document in documents])
    return np.stack([coordizer.basin(ids) for ids in tokens])


def _join(basins_NK: FloatArray, centres_MK: FloatArray) -> NDArray[np.intp]:
    """Return the nearest centre of each document; a centre without one takes the nearest to it.

    Every group must have held-out text to be calibrated on.
    """
    distances_NM = pairwise_distances(basins_NK, centres_MK)
    nearest_N: NDArray[np.intp] = distances_NM.argmin(axis=1)
    for centre in range(len(centres_MK)):
        if not (nearest_N == centre).any():
            spare_N = np.bincount(nearest_N, minlength=len(centres_MK))[nearest_N] > 1
            nearest_N[np.where(spare_N, distances_NM[:, centre], np.inf).argmin()] = centre
    return nearest_N


def _relabelled(corpus: PreparedCorpus, label: Label) -> PreparedCorpus:
    train, dev, test = (
        tuple(replace(document, domain=label(document)) for document in corpus.of_split(split))
        for split in SPLITS
    )
    return replace(corpus, train=train, dev=dev, test=test)


def _deal(
    documents: Sequence[Document], names: Sequence[str], draw: random.Random
) -> Mapping[str, str]:
    """Return source -> group, each source going to the group that has least."""
    sizes: dict[str, int] = {}
    for document in documents:
        sizes[document.source] = sizes.get(document.source, 0) + len(document.text)
    order = sorted(sizes)
    draw.shuffle(order)
    filled = dict.fromkeys(names, 0)
    groups: dict[str, str] = {}
    for source in order:
        groups[source] = min(names, key=filled.__getitem__)
        filled[groups[source]] += sizes[source]
    return groups
