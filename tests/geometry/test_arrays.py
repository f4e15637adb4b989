"""The ratios that change to a series near 0, on both sides of the change."""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch

from constellation.geometry.arrays import arcsine_ratio, sine_ratio, square_root

Function = Callable[[Any], Any]
ARGUMENTS = [0.0, 1e-9, 1e-3, 9.99e-3, 1.001e-2, 0.3, 0.7]


@pytest.mark.parametrize("x", ARGUMENTS)
@pytest.mark.parametrize(
    ("ratio", "function"), [(sine_ratio, mpmath.sin), (arcsine_ratio, mpmath.asin)]
)
def test_the_ratio_agrees_with_fifty_digits(ratio: Function, function: Function, x: float) -> None:
    with mpmath.workdps(50):
        exact = float(function(mpmath.mpf(x)) / mpmath.mpf(x)) if x else 1.0
    found = ratio(np.array([x, -x]))
    np.testing.assert_allclose(found, exact, rtol=3e-16, atol=0)


@pytest.mark.parametrize("ratio", [sine_ratio, arcsine_ratio])
def test_the_ratio_has_its_slope_on_both_sides_of_the_change(ratio: Function) -> None:
    x = torch.tensor(ARGUMENTS, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ratio, x)


def test_the_square_root_is_exact_at_zero_with_a_finite_gradient() -> None:
    p = torch.tensor([0.0, 0.25], dtype=torch.float64, requires_grad=True)
    square_root(p).sum().backward()
    assert square_root(p)[0] == 0
    assert square_root(p)[1] == 0.5
    assert p.grad is not None
    assert torch.isfinite(p.grad).all()
