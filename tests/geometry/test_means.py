"""Hellinger means, their exact sums, and the Karcher mean."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings

from constellation.errors import InvalidBasin
from constellation.geometry import (
    HellingerSum,
    add_hellinger_sums,
    distance,
    geodesic,
    hellinger_mean,
    karcher_mean,
    log_map,
    sum_hellinger,
)
from tests.geometry.cases import ABSOLUTE, KINDS, as_kind, largest, seeds, simplex, sizes


@given(seeds, sizes)
@pytest.mark.parametrize(("library", "dtype"), KINDS)
def test_both_means_of_two_points_are_half_way(
    library: str, dtype: str, seed: int, num_outcomes: int
) -> None:
    p_NK = simplex(seed, 2, num_outcomes)
    (points,) = as_kind(library, dtype, p_NK)
    middle = geodesic(*p_NK, 0.5)
    assert largest(np.asarray(hellinger_mean(points)) - middle) <= ABSOLUTE[dtype]
    report = karcher_mean(points)
    assert report.converged
    assert largest(np.asarray(report.mean) - middle) <= ABSOLUTE[dtype] * 10


@pytest.mark.slow
@given(seeds)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_karcher_mean_balances_the_logs(library: str, seed: int) -> None:
    """At the mean the logs average to zero, and no nearby point has a smaller sum of squares."""
    p_NK = simplex(seed, 12)
    (points,) = as_kind(library, "float64", p_NK)
    report = karcher_mean(points)
    mean = np.asarray(report.mean)
    assert report.converged
    assert np.linalg.norm(log_map(mean, p_NK).mean(axis=0)) <= 1e-11
    least = float((distance(mean, p_NK) ** 2).sum())
    for other in p_NK[:3]:
        beside = geodesic(mean, other, 0.01)
        assert float((distance(beside, p_NK) ** 2).sum()) >= least


def test_weights_count_as_repetitions_in_both_means() -> None:
    p_NK, weights_N = simplex(1, 3), np.array([1.0, 2.0, 3.0])
    repeated_NK = p_NK[[0, 1, 1, 2, 2, 2]]
    weighted = karcher_mean(p_NK, weights_N).mean
    assert largest(hellinger_mean(p_NK, weights_N) - hellinger_mean(repeated_NK)) <= 1e-14
    assert largest(weighted - karcher_mean(repeated_NK).mean) <= 1e-12


def test_a_karcher_mean_that_may_not_step_says_that_it_did_not_converge() -> None:
    report = karcher_mean(simplex(2, 5), iterations_max=0)
    assert (report.iterations, report.converged) == (0, False)
    assert report.residual > 1e-6


def test_the_karcher_mean_of_one_point_is_the_point() -> None:
    p_NK = simplex(3, 1)
    report = karcher_mean(p_NK)
    assert (report.iterations, report.converged) == (0, True)
    assert largest(report.mean - p_NK[0]) <= 1e-15


def test_the_mean_of_a_sum_is_the_hellinger_mean_of_all_its_points() -> None:
    p_NK = simplex(4, 30)
    folded = add_hellinger_sums([sum_hellinger(p_NK[:10]), sum_hellinger(p_NK[10:])])
    assert folded.count == 30
    assert largest(folded.mean() - hellinger_mean(p_NK)) <= 1e-15


def test_float32_points_are_summed_in_float64() -> None:
    p_NK = simplex(4, 30).astype(np.float32)
    assert sum_hellinger(p_NK).root_sum_K.dtype == np.float64


@settings(max_examples=20)
@given(seeds)
def test_dropping_a_corpus_is_bitwise_never_having_added_it(seed: int) -> None:
    """In whatever order the others were added before and after it."""
    kept = [sum_hellinger(simplex(seed + k, 7, 8)) for k in range(3)]
    unwanted = sum_hellinger(simplex(seed + 3, 1000, 8))
    never = add_hellinger_sums(kept)
    for order in permutations([*kept, unwanted]):
        after = add_hellinger_sums([record for record in order if record is not unwanted])
        assert after.root_sum_K.tobytes() == never.root_sum_K.tobytes()
        assert after.mean().tobytes() == never.mean().tobytes()
        assert after.count == never.count


def test_subtracting_a_corpus_from_the_sum_would_not_be_exact() -> None:
    """Why records are kept and folded again."""
    kept, unwanted = sum_hellinger(simplex(5, 7)), sum_hellinger(simplex(6, 1000))
    total = add_hellinger_sums([kept, unwanted]).root_sum_K
    assert (total - unwanted.root_sum_K).tobytes() != kept.root_sum_K.tobytes()


def test_sums_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidBasin, match="negative or not finite"):
        HellingerSum(root_sum_K=np.array([1.0, -1.0]), count=1)
    with pytest.raises(InvalidBasin, match="count -1"):
        HellingerSum(root_sum_K=np.array([1.0, 1.0]), count=-1)
    with pytest.raises(InvalidBasin, match="float32"):
        HellingerSum(root_sum_K=np.ones(3, dtype=np.float32), count=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidBasin, match="0 texts"):
        sum_hellinger(np.zeros((0, 4))).mean()
    with pytest.raises(InvalidBasin, match="one or more"):
        add_hellinger_sums([])
    with pytest.raises(InvalidBasin, match="one shape"):
        add_hellinger_sums([sum_hellinger(simplex(7, 2, 4)), sum_hellinger(simplex(7, 2, 5))])
