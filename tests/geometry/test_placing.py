"""One more kernel on a seat: free, the best of all free ones, the same on every machine."""

import numpy as np
import pytest

from constellation.errors import ConfigError
from constellation.geometry.e8 import NUM_ROOTS
from constellation.geometry.placing import free_seat
from tests.geometry.cases import simplex
from tests.geometry.test_assignment import stress


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_free_seat_has_less_distortion(seed: int) -> None:
    points = simplex(seed, 7)
    seats = tuple(int(seat) for seat in np.random.default_rng(seed).permutation(NUM_ROOTS)[:6])
    chosen = free_seat(points[-1], points[:-1], seats)
    others = set(range(NUM_ROOTS)) - set(seats)
    assert chosen in others
    best = min(stress(points, (*seats, seat)) for seat in others)
    assert stress(points, (*seats, chosen)) == pytest.approx(best, abs=1e-7)


def test_the_first_kernel_takes_the_first_seat_and_ties_go_to_the_lowest() -> None:
    points = simplex(0, 2)
    assert free_seat(points[0], points[:0], ()) == 0
    # One distance is in proportion to any other: all seats are equally good.
    assert free_seat(points[0], points[1:], (0,)) == 1


def test_the_last_seat_is_found_and_then_none() -> None:
    points = simplex(0, NUM_ROOTS)
    taken = [seat for seat in range(NUM_ROOTS) if seat != 77]
    assert free_seat(points[0], points[1:], taken) == 77
    with pytest.raises(ConfigError, match="240 seats"):
        free_seat(points[0], points, range(NUM_ROOTS))
