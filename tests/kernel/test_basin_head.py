"""The basin head maps to the simplex, is safe at zero, and can be trained towards any basin."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ConfigError
from constellation.geometry import check_simplex, distance
from constellation.kernel.network.basin_head import BasinHead
from tests.kernel.conftest import MakeKernel


def head(seed: int, *, width: int = 6, outcomes: int = 5) -> tuple[BasinHead, torch.Generator]:
    made, generator = BasinHead(width, outcomes), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        made.initialise(generator, 0.5)
    return made, generator


@given(st.integers(0, 1000), st.floats(-6, 6))
def test_basins_lie_on_the_simplex_at_any_scale(seed: int, exponent: float) -> None:
    made, generator = head(seed)
    hidden_BTC = torch.randn(3, 4, 6, generator=generator) * 10**exponent
    check_simplex(made(hidden_BTC).detach())


@given(st.integers(0, 1000))
def test_the_chart_is_the_square_of_the_mean_state_read_out(seed: int) -> None:
    made, generator = head(seed)
    hidden_BTC = torch.randn(2, 7, 6, generator=generator)
    v_BK = torch.stack([(made.weight @ text_TC.T).mean(-1) for text_TC in hidden_BTC])
    expected = v_BK.square() / v_BK.square().sum(-1, keepdim=True)
    torch.testing.assert_close(made(hidden_BTC), expected, atol=1e-5, rtol=1e-4)


def test_the_order_of_positions_does_not_matter() -> None:
    made, generator = head(1)
    hidden_BTC = torch.randn(2, 7, 6, generator=generator)
    torch.testing.assert_close(made(hidden_BTC.flip(1)), made(hidden_BTC))


def test_zero_maps_to_the_uniform_point_with_finite_gradients() -> None:
    made, _ = head(0)
    hidden_BTC = torch.zeros(1, 3, 6, requires_grad=True)
    p_BK = made(hidden_BTC)
    torch.testing.assert_close(p_BK, torch.full((1, 5), 0.2))
    corner_K = torch.tensor([1.0, 0, 0, 0, 0])
    distance(p_BK, corner_K).sum().backward()
    assert hidden_BTC.grad is not None
    assert torch.isfinite(hidden_BTC.grad).all()
    assert made.weight.grad is not None
    assert torch.isfinite(made.weight.grad).all()


@pytest.mark.parametrize("corner", [False, True])
def test_training_brings_the_head_to_its_target(corner: bool) -> None:
    """Even to a corner of the simplex, which no softmax reaches."""
    made, generator = head(2)
    hidden_BTC = torch.randn(1, 4, 6, generator=generator)
    target_K = torch.tensor([1.0, 0, 0, 0, 0] if corner else [0.5, 0.1, 0.2, 0.0, 0.2])
    optimiser = torch.optim.Adam(made.parameters(), lr=0.04)
    for _ in range(150):
        optimiser.zero_grad()
        distance(made(hidden_BTC), target_K).square().sum().backward()
        optimiser.step()
    assert distance(made(hidden_BTC), target_K).item() < 0.02


def test_the_result_is_in_full_precision_under_autocast() -> None:
    made, generator = head(3)
    hidden_BTC = torch.randn(2, 4, 6, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        p_BK = made(hidden_BTC.bfloat16())
    assert p_BK.dtype == torch.float32
    torch.testing.assert_close(p_BK, made(hidden_BTC.bfloat16().float()))


def test_a_kernel_without_a_head_says_so(make_kernel: MakeKernel) -> None:
    with pytest.raises(ConfigError, match="basin_outcomes"):
        make_kernel().basin(torch.zeros(1, 2, 32))
