"""Logarithm, exponential and transport in the square-root chart."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from constellation.geometry import distance, exp_map, geodesic, log_map, parallel_transport
from tests.geometry.cases import ABSOLUTE, KINDS, apart, as_kind, largest, seeds, simplex, sizes


@pytest.mark.slow
@given(seeds, sizes)
@pytest.mark.parametrize(("library", "dtype"), KINDS)
def test_exp_undoes_log(library: str, dtype: str, seed: int, num_outcomes: int) -> None:
    p, q = as_kind(library, dtype, *simplex(seed, 2, num_outcomes))
    assert largest(exp_map(p, log_map(p, q)) - q) <= ABSOLUTE[dtype]


@given(seeds, st.floats(1e-3, 0.05))
def test_log_undoes_exp_inside_the_simplex(seed: int, length: float) -> None:
    generator = np.random.default_rng(seed)
    p = 0.5 * generator.dirichlet(np.ones(64)) + 0.5 / 64
    v = generator.normal(size=64)
    v -= np.sqrt(p) * (np.sqrt(p) @ v)
    v *= length / np.linalg.norm(v)
    assert largest(log_map(p, exp_map(p, v)) - v) <= 1e-12


@pytest.mark.slow
@given(seeds, sizes)
@pytest.mark.parametrize(("library", "dtype"), KINDS)
def test_the_log_is_tangent_and_as_long_as_the_distance(
    library: str, dtype: str, seed: int, num_outcomes: int
) -> None:
    p, q = as_kind(library, dtype, *simplex(seed, 2, num_outcomes))
    tangent = log_map(p, q)
    length = float((tangent * tangent).sum()) ** 0.5
    assert length == pytest.approx(float(distance(p, q)), abs=ABSOLUTE[dtype])
    assert abs(float((tangent * p**0.5).sum())) <= ABSOLUTE[dtype]


@pytest.mark.parametrize("separation", [1e-1, 1e-2, 1e-3, 1e-4])
def test_a_short_log_is_accurate_relative_to_its_length_in_float32(separation: float) -> None:
    pairs = [apart(seed, separation) for seed in range(20)]
    p_NK, q_NK = (np.array(side, dtype=np.float32) for side in zip(*pairs, strict=True))
    exact_NK = log_map(p_NK.astype(np.float64), q_NK.astype(np.float64))
    errors_N = np.linalg.norm(log_map(p_NK, q_NK) - exact_NK, axis=1)
    assert largest(errors_N / np.linalg.norm(exact_NK, axis=1)) <= 1e-5


def test_the_log_at_the_same_point_is_exactly_zero() -> None:
    p_NK = simplex(12, 10)
    assert not log_map(p_NK, p_NK).any()
    np.testing.assert_allclose(exp_map(p_NK, np.zeros_like(p_NK)), p_NK, rtol=0, atol=1e-15)


@given(seeds, sizes, st.floats(0, 1))
def test_the_exponential_runs_along_the_geodesic(seed: int, num_outcomes: int, t: float) -> None:
    """Two formulas for one curve."""
    p, q = simplex(seed, 2, num_outcomes)
    assert largest(exp_map(p, t * log_map(p, q)) - geodesic(p, q, t)) <= 1e-12


@given(seeds, sizes)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_transport_keeps_lengths_and_angles(library: str, seed: int, num_outcomes: int) -> None:
    p, q, r, s = as_kind(library, "float64", *simplex(seed, 4, num_outcomes))
    v, w = log_map(p, r), log_map(p, s)
    carried_v, carried_w = parallel_transport(p, q, v), parallel_transport(p, q, w)
    assert float((carried_v * carried_w).sum()) == pytest.approx(float((v * w).sum()), abs=1e-12)
    assert abs(float((carried_v * q**0.5).sum())) <= 1e-12


@given(seeds, sizes)
def test_transport_turns_the_way_out_into_the_way_on(seed: int, num_outcomes: int) -> None:
    p, q = simplex(seed, 2, num_outcomes)
    assert largest(parallel_transport(p, q, log_map(p, q)) + log_map(q, p)) <= 1e-12


@given(seeds, sizes)
def test_transport_back_undoes_transport(seed: int, num_outcomes: int) -> None:
    p, q, r = simplex(seed, 3, num_outcomes)
    tangent = log_map(p, r)
    there_and_back = parallel_transport(q, p, parallel_transport(p, q, tangent))
    assert largest(there_and_back - tangent) <= 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_of_the_maps_are_finite_on_the_boundary_and_at_coincidence(
    dtype: torch.dtype,
) -> None:
    p = torch.tensor([0.0, 0.4, 0.6], dtype=dtype, requires_grad=True)
    for q in (p.detach().clone(), torch.tensor([0.0, 1.0, 0.0], dtype=dtype)):
        p.grad = None
        exp_map(p, 0.5 * log_map(p, q))[1].backward()
        assert p.grad is not None
        assert torch.isfinite(p.grad).all()


def test_gradients_of_the_log_are_its_slopes() -> None:
    p, q = (torch.tensor(row, requires_grad=True) for row in apart(13, 0.5, num_outcomes=5))
    assert torch.autograd.gradcheck(log_map, (p, q))
    assert torch.autograd.gradcheck(exp_map, (p, log_map(p, q).detach().requires_grad_()))
