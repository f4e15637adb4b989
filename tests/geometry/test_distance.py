"""Distance as a metric, against an oracle, and under gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from constellation.geometry import distance, nearest_site, pairwise_distances, root_difference
from tests.geometry.cases import (
    ABSOLUTE,
    KINDS,
    apart,
    as_kind,
    exact_distance,
    largest,
    seeds,
    simplex,
    sizes,
)


@given(seeds, sizes)
@pytest.mark.parametrize(("library", "dtype"), KINDS)
def test_distance_is_a_metric(library: str, dtype: str, seed: int, num_outcomes: int) -> None:
    """Symmetric, zero only at equality, and no detour is shorter."""
    p, q, r = as_kind(library, dtype, *simplex(seed, 3, num_outcomes))
    assert distance(p, q) == distance(q, p)
    assert distance(p, p) == 0
    assert (distance(p, q) > 0) == bool((p != q).any())
    assert distance(p, r) <= distance(p, q) + distance(q, r) + ABSOLUTE[dtype]
    assert 0 <= distance(p, q) <= np.pi + ABSOLUTE[dtype]


@given(seeds, sizes)
@pytest.mark.parametrize("dtype", ABSOLUTE)
def test_numpy_and_torch_agree(dtype: str, seed: int, num_outcomes: int) -> None:
    points = simplex(seed, 4, num_outcomes)
    (ours,), (theirs,) = as_kind("numpy", dtype, points), as_kind("torch", dtype, points)
    assert distance(theirs[0], theirs).numpy().dtype == dtype
    np.testing.assert_allclose(
        distance(theirs[0], theirs).numpy(), distance(ours[0], ours), rtol=0, atol=ABSOLUTE[dtype]
    )


@pytest.mark.parametrize("dtype", ABSOLUTE)
def test_distance_agrees_with_fifty_digits(dtype: str) -> None:
    p_NK, q_NK = as_kind("numpy", dtype, simplex(1, 200), simplex(2, 200))
    exact_N = [exact_distance(p, q) for p, q in zip(p_NK, q_NK, strict=True)]
    assert largest(distance(p_NK, q_NK) - exact_N) <= ABSOLUTE[dtype]


@pytest.mark.parametrize("separation", [1.0, 1e-1, 1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_float32_keeps_five_digits_down_to_small_separations(
    library: str, separation: float
) -> None:
    pairs = [apart(seed, separation) for seed in range(40)]
    p_NK, q_NK = (np.array(side, dtype=np.float32) for side in zip(*pairs, strict=True))
    exact_N = np.array([exact_distance(p, q) for p, q in zip(p_NK, q_NK, strict=True)])
    found_N = np.asarray(distance(*as_kind(library, "float32", p_NK, q_NK)), dtype=np.float64)
    assert largest(found_N / exact_N - 1) <= 1e-5


@pytest.mark.parametrize(("library", "dtype"), KINDS)
def test_disjoint_distributions_are_pi_apart(library: str, dtype: str) -> None:
    p, q = as_kind(library, dtype, np.array([0.5, 0.5, 0, 0]), np.array([0, 0, 0.25, 0.75]))
    assert abs(float(distance(p, q)) - np.pi) <= ABSOLUTE[dtype]


def test_the_distance_of_coins_is_known_in_closed_form() -> None:
    """From a fair coin to a certain one is a quarter of the circle of radius 2: pi / 2."""
    assert distance(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == pytest.approx(np.pi / 2)


@given(seeds, sizes)
def test_renaming_outcomes_changes_no_distance(seed: int, num_outcomes: int) -> None:
    p, q = simplex(seed, 2, num_outcomes)
    order = np.random.default_rng(seed).permutation(num_outcomes)
    assert distance(p[order], q[order]) == pytest.approx(distance(p, q), abs=1e-12)


@given(seeds, sizes, st.floats(0.01, 0.99))
def test_splitting_an_outcome_in_proportion_changes_no_distance(
    seed: int, num_outcomes: int, share: float
) -> None:
    """Chentsov: the same for merging, which is the way back."""
    p, q = simplex(seed, 2, num_outcomes)
    outcome = seed % num_outcomes

    def split(point: np.ndarray) -> np.ndarray:
        parts = [share * point[outcome], (1 - share) * point[outcome]]
        return np.concatenate([np.delete(point, outcome), parts])

    assert distance(split(p), split(q)) == pytest.approx(distance(p, q), abs=1e-12)


@given(seeds, st.integers(3, 64))
def test_merging_outcomes_never_moves_points_apart(seed: int, num_outcomes: int) -> None:
    p, q = simplex(seed, 2, num_outcomes)
    merged_p, merged_q = (np.concatenate([[x[0] + x[1]], x[2:]]) for x in (p, q))
    assert distance(merged_p, merged_q) <= distance(p, q) + 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_is_exactly_zero_at_coincident_points(dtype: torch.dtype) -> None:
    for row in simplex(3, 20):  # some rows have zero entries
        p = torch.tensor(row, dtype=dtype, requires_grad=True)
        here = distance(p, p.detach().clone())
        here.backward()
        assert here == 0
        assert p.grad is not None
        assert torch.equal(p.grad, torch.zeros_like(p))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_is_finite_on_the_boundary(dtype: torch.dtype) -> None:
    """Where p_i = 0, where q_i = 0, and where both are."""
    p = torch.tensor([0.0, 0.0, 0.5, 0.5, 0.0], dtype=dtype, requires_grad=True)
    q = torch.tensor([0.0, 0.3, 0.0, 0.6, 0.1], dtype=dtype, requires_grad=True)
    distance(p, q).backward()
    for grad in (p.grad, q.grad):
        assert grad is not None
        assert torch.isfinite(grad).all()
        assert grad[3] != 0


def test_the_gradient_is_the_slope_of_the_distance() -> None:
    p, q = (torch.tensor(row, requires_grad=True) for row in apart(4, 0.7, num_outcomes=8))
    assert torch.autograd.gradcheck(distance, (p, q))


def test_root_difference_is_the_difference_of_roots() -> None:
    p_NK, q_NK = simplex(5, 50), simplex(6, 50)
    assert largest(root_difference(p_NK, q_NK) - (np.sqrt(p_NK) - np.sqrt(q_NK))) <= 2e-15


@pytest.mark.parametrize(("library", "dtype"), KINDS)
def test_pairwise_distances_are_the_distances_of_all_pairs(library: str, dtype: str) -> None:
    """More rows than one block holds."""
    p_NK, q_MK = as_kind(library, dtype, simplex(7, 150), simplex(8, 120))
    table = np.asarray(pairwise_distances(p_NK, q_MK))
    one_by_one = [[float(distance(p, q)) for q in q_MK[:7]] for p in p_NK[-7:]]
    assert table.shape == (150, 120)
    np.testing.assert_allclose(table[-7:, :7], one_by_one, rtol=0, atol=ABSOLUTE[dtype])


def test_pairwise_distances_of_no_points_is_an_empty_table() -> None:
    assert pairwise_distances(np.zeros((0, 4)), np.full((3, 4), 0.25)).shape == (0, 3)


@given(seeds, sizes)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_nearest_site_has_the_least_distance(
    library: str, seed: int, num_outcomes: int
) -> None:
    query_NK, site_MK = as_kind(
        library, "float64", simplex(seed, 5, num_outcomes), simplex(seed + 1, 9, num_outcomes)
    )
    table_NM = np.asarray(pairwise_distances(query_NK, site_MK))
    chosen_N = np.asarray(nearest_site(query_NK, site_MK))
    assert largest(table_NM[np.arange(5), chosen_N] - table_NM.min(axis=1)) <= 1e-7
