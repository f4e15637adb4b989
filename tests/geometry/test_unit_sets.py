"""Sets of unit vectors: the nearest member counts, and a set of one is what a point was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import InvalidBasin
from constellation.geometry import BearingIndex, SiteIndex, angle, bearing, distance
from constellation.geometry.unit_sets import UnitSets
from tests.geometry.cases import apart, largest, seeds, simplex, sizes


def sets(seed: int, num_outcomes: int = 64, *, most: int = 5) -> list[np.ndarray]:
    """Return sets of 1 to `most` points, in no order of size."""
    generator = np.random.default_rng(seed)
    return [
        simplex(seed + number, int(generator.integers(1, most + 1)), num_outcomes)
        for number in range(7)
    ]


def former_angles(unit_K: np.ndarray, unit_MK: np.ndarray) -> np.ndarray:
    """Return the angles to points as release 0.1.0 computed them."""
    cosine_M = unit_MK @ unit_K
    radians_M = np.arccos(np.clip(cosine_M, -1, 1))
    near = np.flatnonzero(np.abs(cosine_M) > 0.99)
    if near.size:
        sign_R = np.sign(cosine_M[near])
        chord_RK = unit_MK[near] - sign_R[:, None] * unit_K
        half_R = np.arcsin(np.sqrt(np.einsum("rk,rk->r", chord_RK, chord_RK)) / 2)
        radians_M[near] = np.where(sign_R > 0, 2 * half_R, np.pi - 2 * half_R)
    return radians_M


@given(seeds, sizes)
def test_the_distance_to_a_set_is_that_to_its_nearest_point(seed: int, num_outcomes: int) -> None:
    query_K = simplex(seed + 99, 1, num_outcomes)[0]
    points = [*sets(seed, num_outcomes), query_K[None]]
    expected = [distance(query_K, point_BK).min() for point_BK in points]
    index = SiteIndex.of_sets(points)
    assert largest(index.distances(query_K) - expected) <= 1e-13
    assert largest(index.distances_of(query_K[None])[0] - expected) <= 1e-13
    assert index.distances(query_K)[-1] == 0


@given(seeds, sizes)
def test_the_angle_to_a_set_is_that_to_its_nearest_bearing(seed: int, num_outcomes: int) -> None:
    background_K, query_K = simplex(seed + 98, 2, num_outcomes)
    own_K = bearing(query_K, background_K)
    if not own_K.any():
        return
    directions = [bearing(point_BK, background_K) for point_BK in sets(seed, num_outcomes)]
    directions += [np.stack([-own_K, own_K]), -own_K[None]]
    expected = [angle(own_K, unit_BK).min() for unit_BK in directions]
    index = BearingIndex.of_sets(directions, background_K)
    assert largest(index.angles(own_K) - expected) <= 1e-13
    assert largest(index.angles_of(own_K[None])[0] - expected) <= 1e-13


@pytest.mark.parametrize("separation", [0.3, 0.28, 1e-2, 1e-6, 1e-12])
def test_the_nearest_of_a_set_is_measured_accurately_at_every_scale(separation: float) -> None:
    query_K, near_K = apart(1, separation)
    far_BK = simplex(2, 3)
    found = SiteIndex.of_sets([np.stack([*far_BK, near_K])]).distances(query_K)[0]
    assert found == pytest.approx(float(distance(query_K, near_K)), abs=1e-14)


@given(seeds, sizes, st.integers(1, 300))
def test_sets_of_one_point_keep_the_bits_of_points(
    seed: int, num_outcomes: int, num_points: int
) -> None:
    query_K, *points = simplex(seed, num_points + 1, num_outcomes)
    points.append(query_K)
    roots_MK = np.ascontiguousarray(np.sqrt(np.stack(points)))
    expected_M = 2 * former_angles(np.sqrt(query_K), roots_MK)
    assert SiteIndex.of(np.stack(points)).distances(query_K).tobytes() == expected_M.tobytes()
    alone = SiteIndex.of_sets([point_K[None] for point_K in points])
    assert alone.distances(query_K).tobytes() == expected_M.tobytes()


@given(seeds, st.data())
def test_the_order_in_which_a_set_is_given_changes_no_bit(seed: int, data: st.DataObject) -> None:
    points = sets(seed)
    orders = [data.draw(st.permutations(range(len(point_BK)))) for point_BK in points]
    shuffled = [point_BK[order] for point_BK, order in zip(points, orders, strict=True)]
    one, other = SiteIndex.of_sets(points), SiteIndex.of_sets(shuffled)
    query_K = simplex(seed + 99, 1)[0]
    assert one.distances(query_K).tobytes() == other.distances(query_K).tobytes()
    first, second = one.nearest(query_K, 7), other.nearest(query_K, 7)
    assert (first.sets, first.radians) == (second.sets, second.radians)
    renamed = [orders[place][row] for place, row in zip(second.sets, second.members, strict=True)]
    assert renamed == first.members


@given(seeds, st.integers(1, 400), st.integers(1, 5), st.integers(1, 20))
def test_the_nearest_few_are_the_first_of_all_to_the_bit(
    seed: int, num_sets: int, most: int, count: int
) -> None:
    generator = np.random.default_rng(seed)
    points = [
        generator.dirichlet(np.ones(64), int(size))
        for size in generator.integers(1, most + 1, num_sets)
    ]
    query_K = generator.dirichlet(np.ones(64))
    points[-1] = points[0] if seed % 2 else query_K[None]  # ties, and a set at the query
    index = SiteIndex.of_sets(points)
    distance_M = index.distances(query_K)
    expected = distance_M.argsort(kind="stable")[:count]
    found = index.nearest(query_K, count)
    assert found.sets == expected.tolist()
    assert found.radians == distance_M[expected].tolist()


@given(seeds)
def test_the_nearest_member_is_named_as_the_set_was_given(seed: int) -> None:
    points, query_K = sets(seed), simplex(seed + 99, 1)[0]
    if max(map(len, points)) == 1:
        return
    found = SiteIndex.of_sets(points).nearest(query_K, 3)
    assert found.members == [int(distance(query_K, points[place]).argmin()) for place in found.sets]


@pytest.mark.parametrize("num_queries", [1, 7, 300])
def test_many_queries_are_measured_to_sets_as_one_by_one(num_queries: int) -> None:
    points, queries_NK = sets(3, most=9), simplex(2, num_queries, 64)
    queries_NK[0] = points[1][-1]  # exactly at a point, where an arccosine has no digits
    index = SiteIndex.of_sets(points)
    alone_NM = np.stack([index.distances(query_K) for query_K in queries_NK])
    np.testing.assert_allclose(index.distances_of(queries_NK), alone_NM, rtol=0, atol=1e-13)
    assert index.distances_of(queries_NK)[0, 1] < 1e-13


@pytest.mark.parametrize(
    "wrong", [[], [np.ones(4)], [np.ones((0, 4))], [np.ones((1, 4)), np.ones((2, 5))]]
)
def test_sets_without_a_member_or_of_different_lengths_are_refused(wrong: list) -> None:
    with pytest.raises(InvalidBasin, match=r"of shape \(B, K\), B >= 1"):
        UnitSets.of(wrong)
