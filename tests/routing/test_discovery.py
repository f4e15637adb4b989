"""Domains without labels: balance, determinism, and finding groups that are there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.errors import ConfigError
from constellation.geometry.simplex import geodesic, pairwise_distances
from constellation.routing.balanced_clusters import assign_balanced, cluster_balanced
from tests.routing.tables import basins


def grouped(noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Ninety documents near one of three far points, shuffled."""
    own = np.random.default_rng(0).permutation(np.repeat(np.arange(3), 30))
    centres = np.eye(8)[[0, 3, 6]] * 0.9 + 0.1 / 8
    return geodesic(centres[own], basins(2, 90), noise), own


def test_groups_that_are_there_are_found() -> None:
    documents, own = grouped(0.3)
    shards = cluster_balanced(documents, num_shards=3)
    assert shards.converged
    for group in range(3):
        assert len(np.unique(shards.labels_N[own == group])) == 1
    assert len(np.unique(shards.labels_N)) == 3


def test_the_same_seed_gives_the_same_shards() -> None:
    documents = basins(5, 60)
    first, again = (cluster_balanced(documents, num_shards=4, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.labels_N, again.labels_N)
    assert first.centres_MK.tobytes() == again.centres_MK.tobytes()


@settings(max_examples=40)
@given(st.integers(0, 500), st.integers(1, 7), st.floats(1.0, 2.0))
def test_no_shard_holds_more_than_its_share(seed: int, num_shards: int, slack: float) -> None:
    documents = basins(seed, 40)
    shards = cluster_balanced(documents, num_shards=num_shards, slack=slack, num_starts=1)
    sizes = np.bincount(shards.labels_N, minlength=num_shards)
    assert sizes.max() <= np.ceil(slack * 40 / num_shards)
    assert sizes.sum() == 40


def test_without_a_limit_every_document_is_with_its_nearest_centre() -> None:
    documents, _ = grouped(0.6)
    shards = cluster_balanced(documents, num_shards=3, slack=3.0)
    assert shards.converged
    distances = pairwise_distances(documents, shards.centres_MK)
    np.testing.assert_array_equal(shards.labels_N, distances.argmin(axis=1))
    own = distances.min(axis=1)
    assert shards.spread == pytest.approx(float(np.sqrt((own**2).mean())))


def test_who_loses_most_by_a_second_choice_chooses_first() -> None:
    distances = np.array([[0.1, 0.2], [0.1, 0.9], [0.5, 0.4]])
    np.testing.assert_array_equal(assign_balanced(distances, 2), [0, 0, 1])
    np.testing.assert_array_equal(assign_balanced(distances[:2], 1), [1, 0])


def test_copies_of_one_document_still_fill_the_shards() -> None:
    shards = cluster_balanced(np.tile(basins(0, 1), (9, 1)), num_shards=3, slack=1.0)
    assert sorted(np.bincount(shards.labels_N)) == [3, 3, 3]


def test_settings_out_of_range_are_refused() -> None:
    documents = basins(0, 5)
    for wrong in ({"num_shards": 6}, {"num_shards": 0}, {"num_shards": 2, "slack": 0.5}):
        with pytest.raises(ConfigError, match="1 <= num_shards <= 5"):
            cluster_balanced(documents, **wrong)  # type: ignore[arg-type]
