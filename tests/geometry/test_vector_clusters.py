"""Groups of unit vectors: each vector is with its nearest centre, and more groups fit better."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from constellation.geometry.vector_clusters import cluster_centres, nearest_centre
from tests.geometry.cases import seeds


def directions(seed: int, count: int, num_coordinates: int = 16) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, num_coordinates))
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


@given(seeds, st.integers(1, 60), st.integers(1, 6))
def test_a_further_group_brings_vectors_nearer_and_centres_are_the_means(
    seed: int, count: int, most: int
) -> None:
    unit_RK = directions(seed, count)
    fits = []
    for number, centres_BK in enumerate(cluster_centres(unit_RK, most), start=1):
        assert len(centres_BK) == number
        np.testing.assert_allclose(np.linalg.norm(centres_BK, axis=1), 1, atol=1e-12)
        group_R = nearest_centre(unit_RK, centres_BK)
        for group in np.unique(group_R):
            total_K = unit_RK[group_R == group].sum(axis=0)
            np.testing.assert_allclose(
                centres_BK[group], total_K / np.linalg.norm(total_K), atol=1e-9
            )
        fits.append(float((unit_RK * centres_BK[group_R]).sum()))
    assert fits == sorted(fits)


def test_bundles_that_lie_apart_are_found_whole() -> None:
    poles = np.eye(16)[:5]
    bundles = np.repeat(poles, 20, axis=0) + 0.02 * directions(0, 100)
    unit_RK = bundles / np.linalg.norm(bundles, axis=1, keepdims=True)
    *_, centres_BK = cluster_centres(unit_RK, 5)
    group_R = nearest_centre(unit_RK, centres_BK)
    assert [len(set(part.tolist())) for part in np.split(group_R, 5)] == [1] * 5
    assert len(set(group_R.tolist())) == 5


def test_vectors_that_are_all_alike_have_one_group_that_counts() -> None:
    unit_RK = np.tile(directions(1, 1), (9, 1))
    *_, centres_BK = cluster_centres(unit_RK, 3)
    assert set(nearest_centre(unit_RK, centres_BK).tolist()) == {0}
