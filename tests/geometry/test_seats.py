"""Seats as addresses on the simplex."""

import numpy as np
import pytest

from constellation.errors import ConfigError
from constellation.geometry import check_simplex, distance, pairwise_distances
from constellation.geometry.e8 import roots, simple_roots
from constellation.geometry.seats import (
    RHO_MAX,
    neighbour_ring,
    seat_basins,
    seat_distances,
    simple_seats,
)


@pytest.mark.parametrize("rho", [0.01, 0.3228, RHO_MAX])
def test_seats_are_at_exactly_four_distances_given_by_the_angles_of_roots(rho: float) -> None:
    measured = pairwise_distances(seat_basins(rho), seat_basins(rho))
    angles = np.radians([60, 90, 120, 180])
    formula = 2 * np.arccos(np.cos(rho) ** 2 + np.sin(rho) ** 2 * np.cos(angles))
    off_diagonal = measured[~np.eye(240, dtype=bool)]
    np.testing.assert_allclose(np.unique(off_diagonal.round(9)), formula, atol=2e-9)
    assert np.abs(off_diagonal[:, None] - formula).min(axis=1).max() < 1e-12
    np.testing.assert_allclose(seat_distances(rho), measured, rtol=0, atol=1e-12)


def test_all_seats_are_on_the_simplex_and_equally_far_from_the_centre() -> None:
    centre = np.full(64, 1 / 64)
    np.testing.assert_allclose(distance(centre, check_simplex(seat_basins())), 2 * 0.3228)


def test_seats_at_the_largest_rho_touch_the_boundary_and_beyond_are_refused() -> None:
    assert 0 <= seat_basins(RHO_MAX).min() < 1e-30
    for rho in (RHO_MAX * 1.0001, 0.0, float("nan")):
        with pytest.raises(ConfigError, match=r"seats need 0 < rho <= 0\.33"):
            seat_basins(rho)
        with pytest.raises(ConfigError, match=r"seats need 0 < rho <= 0\.33"):
            seat_distances(rho)


def test_the_ring_of_a_seat_is_its_56_nearest_neighbours() -> None:
    measured = pairwise_distances(seat_basins(), seat_basins())
    for seat in range(240):
        ring = neighbour_ring(seat)
        assert len(set(ring)) == 56
        assert list(ring) == sorted(ring)
        outside = [other for other in range(240) if other not in ring and other != seat]
        assert measured[seat, list(ring)].max() < measured[seat, outside].min()
        assert all(seat in neighbour_ring(other) for other in ring[:3])


@pytest.mark.parametrize("seat", [-1, 240])
def test_a_seat_that_does_not_exist_is_refused(seat: int) -> None:
    with pytest.raises(ConfigError, match="seats are 0 to 239"):
        neighbour_ring(seat)


def test_simple_seats_hold_the_simple_roots() -> None:
    assert (roots()[list(simple_seats())] == simple_roots()).all()
