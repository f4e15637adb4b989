"""Assignment of kernels to seats: properties of any answer, and problems with a known one."""

from itertools import permutations

import numpy as np
import pytest

from constellation.errors import ConfigError
from constellation.geometry import pairwise_distances
from constellation.geometry.seat_assignment import _Search, assign_seats
from constellation.geometry.seats import seat_basins, seat_distances, simple_seats
from tests.geometry.cases import simplex


def stress(basin_NK: np.ndarray, seats: tuple[int, ...]) -> float:
    """The distortion by its definition: a least-squares line through the origin over pairs."""
    pairs = np.triu_indices(len(seats), k=1)
    wanted = pairwise_distances(basin_NK, basin_NK)[pairs]
    got = seat_distances()[np.ix_(seats, seats)][pairs]
    scale = np.linalg.lstsq(wanted[:, None], got, rcond=None)[0][0]
    return float(np.linalg.norm(got - scale * wanted) / np.linalg.norm(got))


@pytest.mark.parametrize("num_kernels", [2, 8, 30])
def test_seats_differ_and_the_distortion_is_the_stress_of_the_assignment(num_kernels: int) -> None:
    basins = simplex(1, num_kernels)
    found = assign_seats(basins)
    assert len(set(found.seats)) == num_kernels
    assert found.distortion == pytest.approx(stress(basins, found.seats), abs=1e-7)
    assert found.distortion < found.random_distortion or num_kernels == 2


def test_eight_kernels_are_seated_much_better_than_at_random() -> None:
    for seed in range(5):
        found = assign_seats(np.random.default_rng(seed).dirichlet(np.full(64, 0.2), size=8))
        assert found.distortion < 0.5 * found.random_distortion


def test_kernels_that_lie_on_seats_are_seated_without_distortion() -> None:
    hidden = np.random.default_rng(2).permutation(240)[:8]
    assert assign_seats(seat_basins()[hidden]).distortion < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_as_many_kernels_as_candidates_are_permuted_to_the_best_order(seed: int) -> None:
    """Only swaps can move here."""
    basins, candidates = simplex(seed, 5, 16), simple_seats()[1:6]
    best = min(stress(basins, choice) for choice in permutations(candidates))
    assert assign_seats(basins, candidates=candidates).distortion == pytest.approx(best, abs=1e-7)


@pytest.mark.slow
def test_few_candidates_are_searched_as_well_as_by_trying_all() -> None:
    basins, candidates = simplex(3, 4, 16), simple_seats()[:6]
    found = assign_seats(basins, candidates=candidates)
    assert set(found.seats) <= set(candidates)
    best = min(stress(basins, choice) for choice in permutations(candidates, 4))
    assert found.distortion == pytest.approx(best, abs=1e-7)


@pytest.mark.slow
def test_no_single_move_or_swap_improves_the_assignment() -> None:
    basins = simplex(4, 5)
    found = assign_seats(basins)
    for kernel in range(5):
        for seat in {*range(0, 240, 5), *found.seats}:
            moved = list(found.seats)
            if seat in moved:
                moved[moved.index(seat)] = moved[kernel]
            moved[kernel] = seat
            assert stress(basins, tuple(moved)) >= found.distortion - 1e-9


def test_the_gain_of_a_step_is_what_the_step_gains() -> None:
    """The search updates sums; here they are taken afresh after the step."""
    basins, choice = simplex(9, 6), np.arange(0, 60, 10)
    search = _Search(basin_NN=pairwise_distances(basins, basins), seat_MM=seat_distances())
    for step in (search._best_move, search._best_swap):
        following, merit = step(choice)
        fit = 1 - stress(basins, tuple(following)) ** 2
        assert merit == pytest.approx(fit * (search.basin_NN**2).sum())


def test_the_same_basins_get_the_same_seats_whatever_the_seed() -> None:
    basins = simplex(5, 13)
    assert assign_seats(basins).seats == assign_seats(basins, seed=9).seats


def test_one_kernel_and_kernels_that_coincide_are_seated() -> None:
    assert assign_seats(simplex(6, 1)).distortion == 0
    same = np.repeat(simplex(6, 1), 3, axis=0)
    assert len(set(assign_seats(same).seats)) == 3
    assert assign_seats(same).distortion == 1


def test_more_kernels_than_seats_are_refused() -> None:
    with pytest.raises(ConfigError, match="241 kernels for 240 seats; retire"):
        assign_seats(simplex(7, 241, 4))


@pytest.mark.slow
def test_all_240_seats_can_be_given() -> None:
    found = assign_seats(simplex(8, 240))
    assert sorted(found.seats) == list(range(240))
    assert found.distortion < found.random_distortion
