"""The prepared indexes give what the plain functions give."""

import numpy as np
import pytest
from hypothesis import given

from constellation.errors import InvalidBasin
from constellation.geometry import BearingIndex, SiteIndex, angle, bearing, distance
from tests.geometry.cases import apart, largest, seeds, simplex, sizes


@given(seeds, sizes)
def test_indexed_distances_are_the_distances(seed: int, num_outcomes: int) -> None:
    query, *sites = simplex(seed, 10, num_outcomes)
    site_MK = np.stack([*sites, query])
    found_M = SiteIndex.of(site_MK).distances(query)
    assert largest(found_M - distance(query, site_MK)) <= 1e-13
    assert found_M[-1] == 0


@pytest.mark.parametrize("separation", [0.3, 0.28, 1e-2, 1e-6, 1e-12])
def test_indexed_distances_are_accurate_at_every_scale(separation: float) -> None:
    query, near = apart(1, separation)
    found = SiteIndex.of(np.stack([near, query])).distances(query)[0]
    assert found == pytest.approx(float(distance(query, near)), abs=1e-14)


@given(seeds, sizes)
def test_indexed_angles_are_the_angles(seed: int, num_outcomes: int) -> None:
    query, background, *sites = simplex(seed, 10, num_outcomes)
    own = bearing(query, background)
    bearing_MK = np.stack([*bearing(np.stack(sites), background), own, -own])
    index = BearingIndex.of(bearing_MK, background)
    direction = index.bearing(query)
    if direction is None:
        assert not own.any()
        return
    assert largest(direction - own) <= 1e-9
    assert largest(index.angles(own) - angle(own, bearing_MK)) <= 1e-13
    assert index.angles(own)[-2] == 0


def test_a_query_at_the_background_has_no_bearing() -> None:
    background, near = apart(2, 5e-7)
    index = BearingIndex.of(np.eye(64), background)
    assert index.bearing(background) is None
    assert index.bearing(near) is None
    assert index.bearing(apart(2, 2e-6)[1]) is not None


@pytest.mark.parametrize("table", [np.zeros((0, 4)), np.ones(4), np.ones((2, 4), np.float32)])
def test_an_index_of_something_else_than_a_float64_table_is_refused(table: np.ndarray) -> None:
    with pytest.raises(InvalidBasin, match=r"give float64 \(M, K\), M >= 1"):
        SiteIndex.of(table)


@pytest.mark.parametrize("num_queries", [1, 7, 300])
def test_many_queries_at_once_are_measured_as_one_by_one(num_queries: int) -> None:
    sites_MK, queries_NK = simplex(1, 20, 64), simplex(2, num_queries, 64)
    queries_NK[0] = sites_MK[3]  # exactly at a site, where an arccosine has no digits
    background_K = simplex(3, 1, 64)[0]
    index = SiteIndex.of(sites_MK)
    alone_NM = np.stack([index.distances(query_K) for query_K in queries_NK])
    np.testing.assert_allclose(index.distances_of(queries_NK), alone_NM, rtol=0, atol=1e-13)
    assert index.distances_of(queries_NK)[0, 3] < 1e-13
    bearings = BearingIndex.of(bearing(sites_MK, background_K), background_K)
    seen_NK = bearing(queries_NK, background_K)
    alone_NM = np.stack([bearings.angles(bearing_K) for bearing_K in seen_NK])
    np.testing.assert_allclose(bearings.angles_of(seen_NK), alone_NM, rtol=0, atol=1e-13)
    for query_K in queries_NK:
        far = float(distance(query_K, background_K))
        assert bearings.look(query_K)[1] == pytest.approx(far, abs=1e-13)
