"""Find domains in unlabelled text: cluster the basins (simplex points) of its pieces.

Clusters are found on training text alone, under coordinates fitted without labels. Held-out pieces
are then assigned to the nearest centre, so that held-out text does not influence the clusters it is
measured with.

Shapes: N pieces, M domains, K outcomes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.curricula.documents import Document
from constellation.curricula.prepare import PreparedCorpus, describe
from constellation.curricula.split import SPLITS
from constellation.errors import CorpusError
from constellation.geometry.simplex import pairwise_distances
from constellation.records import FloatArray
from constellation.routing.balanced_clusters import cluster_balanced

VOCAB_SIZE = 4096
"""Tokens of the temporary coordizer that is trained for the clustering."""


def discover_domains(
    corpus: PreparedCorpus, *, num_domains: int, seed: int = 0, vocab_size: int = VOCAB_SIZE
) -> PreparedCorpus:
    """Return the same pieces under domains found by clustering; existing domains are ignored.

    Args:
        corpus: Pieces to cluster.
        num_domains: M, from 2 to the number of training pieces.
        seed: Seed of the coordinates and of the clustering's starts.
        vocab_size: Tokens of the temporary coordizer that is trained for the clustering.

    Returns:
        Pieces in their order, with domains "domain-1" to "domain-M", the largest first. A domain
        holds at most 1.25 times an equal share of the training pieces. The manifest holds the
        distance of pieces from their centres (`discovery.spread`, radians).

    Raises:
        CorpusError: There are fewer training pieces than domains.
    """
    if not 2 <= num_domains <= len(corpus.train):
        raise CorpusError(
            "corpus",
            f"{num_domains} domains cannot be found in {len(corpus.train)} training pieces; "
            "ask for 2 or more, at most one per piece, or add text",
        )
    coordizer = train_coordizer(
        [document.text for document in corpus.train],
        vocab_size=vocab_size,
        anchored=False,
        seed=seed,
    )
    basins = {name: _basins(corpus.of_split(name), coordizer) for name in SPLITS}
    shards = cluster_balanced(basins["train"], num_shards=num_domains, seed=seed)
    labels = {
        name: shards.labels_N if name == "train" else _nearest(basins_NK, shards.centres_MK)
        for name, basins_NK in basins.items()
    }
    names = _names(shards.labels_N, num_domains)
    splits = {
        name: tuple(
            replace(document, domain=names[label])
            for document, label in zip(corpus.of_split(name), labels[name], strict=True)
        )
        for name in SPLITS
    }
    manifest = {
        **corpus.manifest,
        "discovery": {"spread": shards.spread, "converged": shards.converged, "seed": seed},
        "splits": {name: describe(splits[name]) for name in SPLITS},
    }
    return PreparedCorpus(
        train=splits["train"], dev=splits["dev"], test=splits["test"], manifest=manifest
    )


def _basins(documents: Sequence[Document], coordizer: Coordizer) -> FloatArray:
    ids = coordizer.encode_batch([document.text for document in documents])
    basins = [coordizer.basin(tokens) for tokens in ids]
    return np.stack(basins) if basins else np.empty((0, len(coordizer.background_K)))


def _nearest(basins_NK: FloatArray, centres_MK: FloatArray) -> NDArray[np.intp]:
    nearest_N: NDArray[np.intp] = pairwise_distances(basins_NK, centres_MK).argmin(axis=1)
    return nearest_N


def _names(labels_N: NDArray[np.intp], num_domains: int) -> dict[int, str]:
    """Return cluster -> name; numbers follow size, zero-padded so that names sort."""
    sizes_M = np.bincount(labels_N, minlength=num_domains)
    order = np.argsort(-sizes_M, kind="stable").tolist()
    width = len(str(num_domains))
    return {shard: f"domain-{place:0{width}d}" for place, shard in enumerate(order, start=1)}
