"""Kernels of several basins: the nearest basin counts, and one basin is what it was."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.geometry.bearings import angle, bearing
from constellation.geometry.simplex import distance
from constellation.records import Rule, Table
from constellation.routing.calibration import calibrate, own_distances, site_distances
from constellation.routing.policy import LISTED_MAX, RoutingPolicy
from constellation.routing.threshold_fit import measure
from tests.routing.tables import BACKGROUND, basins, refusal, several, table

seeds = st.integers(0, 10_000)
rules = st.sampled_from(Rule)
sizes = st.lists(st.integers(1, 6), min_size=1, max_size=12).map(tuple)


def expected_distances(made: Table, query_K: np.ndarray, rule: Rule) -> np.ndarray:
    """Return the distance to each kernel by the plain functions, shape (M,)."""
    own_K = bearing(query_K, BACKGROUND)
    return np.array(
        [
            distance(query_K, site.basins_BK).min()
            if rule is Rule.GEODESIC
            else angle(own_K, bearing(site.basins_BK, BACKGROUND)).min()
            for site in made.sites
        ]
    )


@pytest.mark.slow
@given(seeds, sizes, rules)
def test_the_kernel_whose_nearest_basin_is_nearest_answers(
    seed: int, sizes: tuple[int, ...], rule: Rule
) -> None:
    made = several(seed, sizes)
    query_K = basins(seed + 500, 1)[0]
    expected_M = expected_distances(made, query_K, rule)
    route = RoutingPolicy(made).decide(query_K, num_tokens=5, rule=rule)
    assert route.kernel == f"k{expected_M.argmin()}"
    np.testing.assert_allclose(route.distances, np.sort(expected_M)[:LISTED_MAX], atol=1e-9)
    found_NM = site_distances(query_K[None], made.sites, background_K=BACKGROUND, rule=rule)
    np.testing.assert_allclose(found_NM[0], expected_M, atol=1e-9)
    own_N = own_distances(query_K[None], made.sites[0], background_K=BACKGROUND, rule=rule)
    assert own_N[0] == pytest.approx(expected_M[0], abs=1e-9)


@pytest.mark.slow
@given(seeds, sizes, rules, st.data())
def test_the_order_of_a_kernels_basins_changes_no_route(
    seed: int, sizes: tuple[int, ...], rule: Rule, data: st.DataObject
) -> None:
    made = replace(several(seed, sizes), refusal=refusal(seed))
    shuffled = []
    for site in made.sites:
        order = data.draw(st.permutations(range(len(site.basins_BK))))
        shuffled.append(
            replace(site, basins_BK=site.basins_BK[order], bearings_BK=site.bearings_BK[order])
        )
    query_K = basins(seed + 500, 1)[0]
    routes = [
        RoutingPolicy(each).decide(query_K, num_tokens=5, rule=rule)
        for each in (made, replace(made, sites=tuple(shuffled)))
    ]
    one, other = (
        replace(route, choices=tuple(replace(each, basin=None) for each in route.choices))
        for route in routes
    )
    assert one == other
    for before, after in zip(routes[0].choices, routes[1].choices, strict=True):
        if before.basin is not None and after.basin is not None:
            place = int(before.kernel[1:])
            assert np.array_equal(
                made.sites[place].basins_BK[before.basin], shuffled[place].basins_BK[after.basin]
            )


@given(seeds, st.integers(1, 20), rules)
def test_a_basin_that_is_given_twice_changes_nothing(seed: int, count: int, rule: Rule) -> None:
    one = table(basins(seed, count))
    twice = replace(
        one,
        sites=tuple(
            replace(
                site,
                basins_BK=np.stack([site.basin_K] * 2),
                bearings_BK=np.stack([site.bearing_K] * 2),
            )
            for site in one.sites
        ),
    )
    query_K = basins(seed + 500, 1)[0]
    first, second = (
        RoutingPolicy(each).decide(query_K, num_tokens=5, rule=rule) for each in (one, twice)
    )
    assert first.kernels == second.kernels
    np.testing.assert_allclose(first.distances, second.distances, atol=1e-13)
    assert [choice.basin for choice in first.choices] == [None] * len(first.choices)


def test_a_route_says_which_basin_was_nearest_where_there_are_several() -> None:
    made = several(3, (1, 4, 3))
    at_K = made.sites[1].basins_BK[2]
    route = RoutingPolicy(made).decide(at_K, num_tokens=5)
    assert (route.choices[0].kernel, route.choices[0].basin) == ("k1", 2)
    basin_of = {choice.kernel: choice.basin for choice in route.choices}
    assert basin_of["k0"] is None
    assert basin_of["k2"] in range(3)


def test_a_site_of_one_basin_routes_from_it_whatever_set_is_given() -> None:
    (site,) = table(basins(0, 1)).sites
    moved_K = basins(1, 1)[0]
    moved = replace(site, basin_K=moved_K, bearing_K=bearing(moved_K, BACKGROUND))
    assert np.array_equal(moved.basins_BK, moved_K[None])
    assert np.array_equal(moved.bearings_BK, moved.bearing_K[None])


def test_thresholds_and_arrivals_are_measured_to_the_nearest_basin() -> None:
    made = several(5, (3, 1, 4))
    texts = np.concatenate([site.basins_BK for site in made.sites])
    own_N = np.repeat([0, 1, 2], [3, 1, 4])
    found = calibrate(made.sites, texts, [f"k{n}" for n in own_N], background_K=BACKGROUND)
    arrived = {name: (each.num_arrived, each.num_texts) for name, each in found.arrived.items()}
    assert arrived == {"k0": (3, 3), "k1": (1, 1), "k2": (4, 4)}
    assert all(radius < 1e-12 for radii in found.radii.values() for radius in radii.values())
    measured = measure(
        made.sites,
        texts,
        kernel_N=own_N,
        document_N=np.arange(8),
        num_tokens_N=np.full(8, 9),
        background_K=BACKGROUND,
    )
    allowed_N = distance(texts, BACKGROUND) / 2
    np.testing.assert_allclose(measured.excess[Rule.GEODESIC], -allowed_N, atol=1e-12)
    away_N = [
        min(distance(text_K, site.basins_BK).min() for site in made.sites if site.name != f"k{own}")
        for text_K, own in zip(texts, own_N, strict=True)
    ]
    np.testing.assert_allclose(measured.left_out[Rule.GEODESIC], away_N - allowed_N, atol=1e-9)
