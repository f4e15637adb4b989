"""Validation, geodesics and tangent projection."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import InvalidBasin
from constellation.geometry import check_simplex, distance, geodesic, project_tangent
from tests.geometry.cases import ABSOLUTE, KINDS, apart, as_kind, largest, seeds, simplex, sizes

FINE = np.array([[0.25, 0.25, 0.5], [0.0, 1.0, 0.0]])


@pytest.mark.parametrize(("library", "dtype"), KINDS)
def test_a_point_close_to_the_simplex_is_put_on_it(library: str, dtype: str) -> None:
    (near,) = as_kind(library, dtype, FINE * (1 + 5e-5))
    checked = check_simplex(near)
    assert type(checked) is type(near)
    assert checked.dtype == near.dtype
    assert largest(np.asarray(checked) - FINE) <= ABSOLUTE[dtype] / 10


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        (FINE * [[1.0], [np.nan]], r"nan at index \(1, 0\); entries must be finite"),
        (
            FINE + np.array([[0, 0, np.inf], [0, 0, 0]]),
            r"inf at index \(0, 2\); entries must be finite",
        ),
        (
            FINE + np.array([[1e-9, 0, 0], [-1e-9, 0, 0]]),
            r"-1e-09 at index \(1, 0\); entries must be >= 0",
        ),
        (FINE * 1.001, r"1.00\d+ at index \(0, 0\); entries must sum to 1 within 0.0001"),
        (FINE * 0, r"0.0 at index \(0, 0\); entries must sum to 1"),
        (np.ones((2, 1)), r"shape \(2, 1\); give at least 2 outcomes"),
        (np.float64(1.0) * np.ones(()), r"shape \(\); give at least 2 outcomes"),
        (np.array([0, 1]), "int64; give float32 or float64"),
        (np.array([0, 1], dtype=np.float16), "float16; give float32 or float64"),
    ],
)
def test_what_is_not_on_the_simplex_is_refused_with_the_place(
    library: str, points: np.ndarray, complaint: str
) -> None:
    given_points = torch.from_numpy(np.asarray(points)) if library == "torch" else points
    with pytest.raises(InvalidBasin, match=complaint):
        check_simplex(given_points)


def test_the_tolerance_is_the_callers() -> None:
    assert check_simplex(FINE * 1.05, tolerance=0.1) == pytest.approx(FINE)


@pytest.mark.slow
@given(seeds, sizes, st.floats(0, 1), st.floats(0, 1))
@pytest.mark.parametrize(("library", "dtype"), KINDS)
def test_a_geodesic_has_constant_speed(
    library: str, dtype: str, seed: int, num_outcomes: int, s: float, t: float
) -> None:
    p, q = as_kind(library, dtype, *simplex(seed, 2, num_outcomes))
    here, there = geodesic(p, q, s), geodesic(p, q, t)
    expected = abs(s - t) * float(distance(p, q))
    assert float(distance(here, there)) == pytest.approx(expected, abs=ABSOLUTE[dtype])


@pytest.mark.parametrize("separation", [3.0, 1e-3, 1e-9, 0.0])
def test_a_geodesic_starts_and_ends_at_its_points(separation: float) -> None:
    p, q = apart(9, separation) if separation < 3 else simplex(9, 2)
    shares = np.array([0.0, 0.5, 1.0])
    start, middle, end = geodesic(p, q, shares)
    np.testing.assert_allclose(np.stack([start, end]), np.stack([p, q]), rtol=0, atol=1e-15)
    assert distance(p, middle) == pytest.approx(distance(middle, q), abs=1e-14)


def test_the_geodesic_of_batches_is_the_batch_of_geodesics() -> None:
    p_NK, q_NK, shares_N = simplex(10, 4), simplex(11, 4), np.linspace(0, 1, 4)
    together = geodesic(p_NK, q_NK, shares_N)
    apart_NK = [geodesic(p, q, float(t)) for p, q, t in zip(p_NK, q_NK, shares_N, strict=True)]
    np.testing.assert_allclose(together, apart_NK, rtol=0, atol=1e-15)


def test_a_geodesic_has_finite_gradients_on_the_boundary() -> None:
    p = torch.tensor([0.0, 0.5, 0.5], requires_grad=True)
    geodesic(p, torch.tensor([0.0, 1.0, 0.0]), 0.3)[1].backward()
    assert p.grad is not None
    assert torch.isfinite(p.grad).all()


@given(seeds, sizes)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_tangent_projection_is_orthogonal_in_the_fisher_metric(
    library: str, seed: int, num_outcomes: int
) -> None:
    """The part taken away is orthogonal to all tangents, and what is left is one."""
    generator = np.random.default_rng(seed)
    p_K = generator.dirichlet(np.full(num_outcomes, 2.0)) * 0.9 + 0.1 / num_outcomes
    v_K = generator.normal(size=num_outcomes)
    other_K = np.append(generator.normal(size=num_outcomes - 1), 0)
    other_K[-1] = -other_K.sum()
    p, v, other = as_kind(library, "float64", p_K, v_K, other_K)
    tangent = project_tangent(p, v)
    scale = 1 + float(((other / p) ** 2).sum()) ** 0.5
    assert abs(float(tangent.sum())) <= 1e-12
    assert abs(float(((v - tangent) * other / p).sum())) <= 1e-12 * scale
    assert largest(project_tangent(p, tangent) - tangent) <= 1e-12
