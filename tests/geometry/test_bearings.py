"""Bearings, angles between them, and their mean."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from constellation.geometry import angle, bearing, geodesic, has_bearing, log_map, mean_bearing
from tests.geometry.cases import ABSOLUTE, KINDS, apart, as_kind, largest, seeds, simplex, sizes


def directions(seed: int, num_vectors: int, num_outcomes: int = 64) -> np.ndarray:
    raw = np.random.default_rng(seed).normal(size=(num_vectors, num_outcomes))
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


@given(seeds, sizes)
@pytest.mark.parametrize(("library", "dtype"), KINDS)
def test_a_bearing_is_the_unit_log(library: str, dtype: str, seed: int, num_outcomes: int) -> None:
    p, background = as_kind(library, dtype, *simplex(seed, 2, num_outcomes))
    direction, tangent = bearing(p, background), log_map(background, p)
    length = float((tangent * tangent).sum()) ** 0.5
    if length < 1e-6:
        assert not has_bearing(direction)
    else:
        assert largest(direction * length - tangent) <= ABSOLUTE[dtype]


@pytest.mark.parametrize(("separation", "present"), [(2e-6, True), (5e-7, False), (0.0, False)])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_a_point_within_a_millionth_of_the_background_has_no_bearing(
    library: str, separation: float, present: bool
) -> None:
    background, p = as_kind(library, "float64", *apart(1, separation))
    direction = bearing(p, background)
    assert bool(has_bearing(direction)) is present
    assert float((direction * direction).sum()) == pytest.approx(float(present), abs=1e-12)


@given(seeds, st.floats(0.1, 1))
def test_all_points_of_a_geodesic_from_the_background_have_one_bearing(seed: int, t: float) -> None:
    background, p = simplex(seed, 2)
    assert largest(bearing(geodesic(background, p, t), background) - bearing(p, background)) <= 1e-9


@pytest.mark.parametrize("radians", [0.0, 1e-12, 1e-8, 1e-3, 1.0, 3.0, 3.14159265])
def test_an_angle_is_accurate_near_nothing_and_near_opposite(radians: float) -> None:
    """Against 50 digits of the same two float64 vectors."""
    u = np.array([1.0, 0.0, 0.0])
    v = np.array([np.cos(radians), np.sin(radians), 0.0])
    with mpmath.workdps(50):
        exact = float(mpmath.atan2(mpmath.mpf(float(v[1])), mpmath.mpf(float(v[0]))))
    assert float(angle(u, v)) == pytest.approx(exact, rel=1e-12, abs=1e-24)
    assert float(angle(u, -v)) == pytest.approx(np.pi - exact, abs=1e-15)


@given(seeds, st.integers(2, 64))
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_an_angle_is_the_arccosine_of_the_inner_product(
    library: str, seed: int, num_outcomes: int
) -> None:
    u, v = as_kind(library, "float64", *directions(seed, 2, num_outcomes))
    assert float(angle(u, v)) == pytest.approx(float(np.arccos(float((u * v).sum()))), abs=1e-7)
    assert angle(u, u) == 0
    assert float(angle(u, -u)) == pytest.approx(np.pi, abs=1e-15)


def test_no_bearing_is_a_right_angle_from_every_bearing() -> None:
    none_K = np.zeros(64)
    assert largest(angle(none_K, directions(2, 5)) - np.pi / 2) <= 1e-15


def test_the_gradient_of_an_angle_is_finite_at_coincidence() -> None:
    u = torch.tensor([0.6, 0.8], requires_grad=True)
    angle(u, torch.tensor([0.6, 0.8])).backward()
    assert u.grad is not None
    assert torch.equal(u.grad, torch.zeros(2))


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_mean_bearing_of_two_lies_half_way(library: str) -> None:
    u, v = as_kind(library, "float64", *directions(3, 2))
    (both,) = as_kind(library, "float64", np.stack([np.asarray(u), np.asarray(v)]))
    middle = mean_bearing(both)
    assert float(angle(middle, u)) == pytest.approx(float(angle(u, v)) / 2)
    assert float(angle(middle, v)) == pytest.approx(float(angle(u, v)) / 2)


def test_weights_of_the_mean_bearing_count_as_repetitions() -> None:
    u_NK = directions(4, 3)
    repeated = mean_bearing(u_NK[[0, 1, 1, 2, 2, 2]])
    assert largest(mean_bearing(u_NK, np.array([1.0, 2.0, 3.0])) - repeated) <= 1e-15


def test_opposite_bearings_have_no_mean() -> None:
    (u,) = directions(5, 1)
    assert not has_bearing(mean_bearing(np.stack([u, -u])))
