"""Cluster basins (simplex points) into equally large groups: balanced spherical k-means.

Used to find domains in unlabelled documents, and to split a kernel's queries in two. Works in the
square-root chart: a document belongs to the centre at the least Fisher-Rao distance that is not
full, and a centre is the Hellinger mean of its documents. Balance gives kernels similar amounts of
text; without balance one group tends to absorb all documents that the coordinates separate poorly.

Shapes: K outcomes, N documents, M shards.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from constellation.errors import ConfigError
from constellation.geometry.means import hellinger_mean
from constellation.geometry.simplex import pairwise_distances
from constellation.records import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Shards:
    """Result of a clustering: the shard (group) of each document, and the shards' centres."""

    labels_N: NDArray[np.intp]
    """Index of each document's shard, in [0, M)."""
    centres_MK: FloatArray
    """Centre of each shard: Hellinger mean of its documents."""
    spread: float
    """Root mean square distance in radians of documents from their centres; lower is better."""
    iterations: int
    """Number of rounds until no document changed its shard, or the limit."""
    converged: bool
    """False when the limit of rounds was reached first."""


def cluster_balanced(
    basins_NK: FloatArray,
    *,
    num_shards: int,
    seed: int = 0,
    slack: float = 1.25,
    iterations_max: int = 50,
    num_starts: int = 4,
) -> Shards:
    """Cluster documents into shards of about equal size.

    Args:
        basins_NK: Basins of the documents, shape (N, K).
        num_shards: M, 1 to N.
        seed: Seed of the starts; the result is a function of the arguments alone.
        slack: A shard holds at most slack * N / M documents, >= 1.
        iterations_max: Most rounds of each start.
        num_starts: Number of starts; the result with the least spread is returned.

    Raises:
        ConfigError: When a setting is out of range.
    """
    num_documents = len(basins_NK)
    if not 1 <= num_shards <= num_documents or slack < 1 or min(iterations_max, num_starts) < 1:
        raise ConfigError(
            f"need 1 <= num_shards <= {num_documents} documents, slack >= 1 and at least one start "
            f"and round; got {num_shards}, {slack}, {num_starts} and {iterations_max}"
        )
    capacity = int(np.ceil(slack * num_documents / num_shards))
    rng = np.random.default_rng(seed)
    found = [
        _cluster(basins_NK, _spread_out(basins_NK, num_shards, rng), capacity, iterations_max)
        for _ in range(num_starts)
    ]
    return min(found, key=lambda shards: shards.spread)


def _cluster(
    basins_NK: FloatArray, centres_MK: FloatArray, capacity: int, iterations_max: int
) -> Shards:
    labels_N = np.full(len(basins_NK), -1, dtype=np.intp)
    converged, iteration = False, 0
    while not converged and iteration < iterations_max:
        distances_NM = pairwise_distances(basins_NK, centres_MK)
        following_N = assign_balanced(distances_NM, capacity)
        converged = bool((following_N == labels_N).all())
        labels_N, iteration = following_N, iteration + 1
        centres_MK = _centres(basins_NK, labels_N, centres_MK)
    own_N = pairwise_distances(basins_NK, centres_MK)[np.arange(len(labels_N)), labels_N]
    return Shards(
        labels_N=labels_N,
        centres_MK=centres_MK,
        spread=float(np.sqrt((own_N**2).mean())),
        iterations=iteration,
        converged=converged,
    )


def _centres(
    basins_NK: FloatArray, labels_N: NDArray[np.intp], previous_MK: FloatArray
) -> FloatArray:
    """Return the mean of each shard; the centre of an empty shard stays."""
    centres_MK = previous_MK.copy()
    for shard in np.unique(labels_N):
        centres_MK[shard] = hellinger_mean(basins_NK[labels_N == shard])
    return centres_MK


def _spread_out(basins_NK: FloatArray, num_shards: int, rng: np.random.Generator) -> FloatArray:
    """Draw initial centres, each with probability as the squared distance to the previous ones."""
    chosen = [int(rng.integers(len(basins_NK)))]
    nearest_N = np.full(len(basins_NK), np.inf)
    while len(chosen) < num_shards:
        new_N = pairwise_distances(basins_NK, basins_NK[chosen[-1]][None])[:, 0]
        nearest_N = np.minimum(nearest_N, new_N)
        mass_N = nearest_N**2
        mass_N[chosen] = 0
        if not mass_N.any():  # all other documents equal the chosen ones
            mass_N = np.ones(len(basins_NK))
            mass_N[chosen] = 0
        chosen.append(int(rng.choice(len(basins_NK), p=mass_N / mass_N.sum())))
    return basins_NK[chosen]


def assign_balanced(distances_NM: FloatArray, capacity: int) -> NDArray[np.intp]:
    """Assign each document to the nearest shard that is not full, the greatest losses first.

    A document's loss is its second smallest distance minus its smallest.

    Args:
        distances_NM: Radians, shape (N, M).
        capacity: Most documents in a shard; M * capacity >= N.

    Returns:
        Index of each document's shard, shape (N,).
    """
    num_documents, num_shards = distances_NM.shape
    if num_shards == 1:
        return np.zeros(num_documents, dtype=np.intp)
    two_N2 = np.partition(distances_NM, 1, axis=1)[:, :2]
    preference_NM = distances_NM.argsort(axis=1, kind="stable")
    room_M = np.full(num_shards, capacity)
    labels_N = np.empty(num_documents, dtype=np.intp)
    for document in np.argsort(two_N2[:, 0] - two_N2[:, 1], kind="stable"):
        choices_M = preference_NM[document]
        shard = int(choices_M[np.argmax(room_M[choices_M] > 0)])
        labels_N[document] = shard
        room_M[shard] -= 1
    return labels_N
