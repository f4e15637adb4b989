"""The latest queries of every kernel: bounded, in order, forgotten when their kernel changes."""

from dataclasses import replace

import numpy as np

from constellation.routing.recent_queries import RECENT_MAX, RecentQueries
from tests.routing.tables import basins, table


def test_the_latest_queries_are_kept_in_order_and_the_oldest_forgotten() -> None:
    recent = RecentQueries()
    drawn_NK = basins(0, RECENT_MAX + 5)
    for basin_K in drawn_NK:
        recent.note("k0", basin_K)
    recent.note("k1", drawn_NK[0])
    np.testing.assert_array_equal(recent.of("k0"), drawn_NK[5:])
    np.testing.assert_array_equal(recent.of("k1"), drawn_NK[:1])


def test_a_kernel_that_was_never_asked_has_none() -> None:
    assert len(RecentQueries().of("k0")) == 0


def test_queries_go_with_their_kernel_or_when_it_routes_from_elsewhere() -> None:
    recent, before = RecentQueries(), table(basins(0, 3))
    recent.follow(before)
    for site in before.sites:
        recent.note(site.name, site.basin_K)
    moved = replace(before.sites[1], basin_K=basins(9, 1)[0])
    recent.follow(replace(before, version=8, sites=(before.sites[0], moved)))
    assert [len(recent.of(name)) for name in ("k0", "k1", "k2")] == [1, 0, 0]
    recent.follow(before)
    assert len(recent.of("k0")) == 1
    set_of_two = basins(8, 2)
    spread = replace(before.sites[0], basins_BK=set_of_two, bearings_BK=set_of_two)
    recent.follow(replace(before, sites=(spread, *before.sites[1:])))
    assert len(recent.of("k0")) == 0
