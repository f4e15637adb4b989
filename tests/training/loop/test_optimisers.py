"""Optimisers against closed forms."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from constellation.errors import ConfigError
from tests.training import tiny
from training.loop.optimisers.fisher import DiagonalFisher
from training.loop.optimisers.muon import BAND, REACH, Muon, muon_groups, orthogonalise
from training.loop.optimisers.simplex import ExponentiatedGradient

seeds = st.integers(0, 10_000)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parameter(values: Tensor, gradient: Tensor | None = None) -> torch.nn.Parameter:
    made = torch.nn.Parameter(values.clone())
    made.grad = torch.zeros_like(made) if gradient is None else gradient.clone()
    return made


# --- Muon ----------------------------------------------------------------------------------------


@given(seeds, st.integers(2, 24), st.integers(2, 24))
def test_singular_values_end_in_the_band_and_directions_stay(
    seed: int, rows: int, columns: int
) -> None:
    matrix = normal(seed, rows, columns)
    left, strengths, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonalise(matrix) @ right.T
    values = found.diagonal()
    reached = strengths / strengths.norm() >= REACH
    assert ((values >= BAND[0]) & (values <= BAND[1]))[reached].all()
    assert (found - torch.diag(values)).abs().max() < 1e-3


def test_the_whole_reach_of_the_polynomial_is_lifted_into_the_band() -> None:
    """One singular value at a time, over all of them: the oracle is the scalar polynomial."""
    shares = torch.logspace(math.log10(REACH), 0, 2000)[:-1]
    ends = []
    for share in shares.tolist():
        matrix = torch.diag(torch.tensor([share, math.sqrt(1 - share**2)]))
        ends.append(orthogonalise(matrix).diagonal())
    assert BAND[0] <= float(torch.stack(ends).min())
    assert float(torch.stack(ends).max()) <= BAND[1]


def test_a_zero_gradient_moves_nothing_but_decay() -> None:
    matrix = parameter(normal(0, 4, 6))
    before = matrix.detach().clone()
    Muon([{"params": [matrix], "orthogonal": True, "weight_decay": 0.5}], lr=0.1).step()
    torch.testing.assert_close(matrix.detach(), before * (1 - 0.05))


def test_the_first_step_is_along_the_orthogonal_factor_and_as_large_as_adams() -> None:
    gradient = normal(1, 32, 48)
    matrix = parameter(torch.zeros(32, 48), gradient)
    Muon([{"params": [matrix], "orthogonal": True}], lr=1e-2).step()
    left, _, right = torch.linalg.svd(gradient, full_matrices=False)
    along = float((matrix.detach() * (left @ right)).sum())
    assert along < -0.95 * float(matrix.detach().norm()) * math.sqrt(32)
    assert float(matrix.detach().square().mean().sqrt()) == pytest.approx(0.2e-2, rel=0.15)


def test_the_rest_moves_exactly_by_adamw() -> None:
    ours, theirs = parameter(normal(0, 5)), parameter(normal(0, 5))
    mine = Muon([{"params": [ours], "weight_decay": 0.1}], lr=1e-2, betas=(0.9, 0.95))
    adam = torch.optim.AdamW([theirs], lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(5):
        ours.grad = normal(step + 1, 5)
        theirs.grad = ours.grad.clone()
        mine.step()
        adam.step()
    torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-5, atol=1e-7)


def test_only_hidden_matrices_are_orthogonalised() -> None:
    decoder = tiny.decoder()
    groups = muon_groups(decoder, decoder.parameter_groups(weight_decay=0.1))
    names = {p: name for name, p in decoder.named_parameters()}
    hidden = {names[p] for group in groups if group["orthogonal"] for p in group["params"]}
    assert hidden == {
        f"blocks.0.{layer}.weight"
        for layer in ("attention.qkv", "attention.out", "gate_up", "down")
    }
    assert sum(len(group["params"]) for group in groups) == len(names)


def test_vectors_cannot_be_orthogonalised() -> None:
    with pytest.raises(ConfigError, match="matrices"):
        Muon([{"params": [parameter(normal(0, 5))], "orthogonal": True}], lr=0.1)


# --- DiagonalFisher ------------------------------------------------------------------------------


def test_one_step_divides_by_f_itself() -> None:
    gradient = torch.tensor([2.0, -0.5, 0.0])
    p = parameter(torch.zeros(3), gradient)
    DiagonalFisher([p], lr=0.1, damping=0.3).step()
    fisher = gradient.square()
    expected = -0.1 * gradient / (fisher + 0.3 * fisher.mean())
    torch.testing.assert_close(p.detach(), expected)


def test_f_is_the_empirical_fisher_of_a_logistic_model() -> None:
    """Batches of one: the closed form is the mean of (sigmoid(wx) - y)^2 x^2."""
    x_ND, y_N = normal(0, 400, 3), (normal(1, 400) > 0).float()
    weight = parameter(torch.tensor([0.3, -0.2, 0.1]))
    optimiser = DiagonalFisher([weight], lr=1e-30, betas=(0.0, 0.9999))
    for x_D, y in zip(x_ND, y_N, strict=True):
        weight.grad = (torch.sigmoid(x_D @ weight.detach()) - y) * x_D
        optimiser.step()
    state = optimiser.state[weight]
    found = state["fisher"] / (1 - 0.9999 ** float(state["step"]))
    residual_N = torch.sigmoid(x_ND @ weight.detach()) - y_N
    expected = (residual_N[:, None] * x_ND).square().mean(0)
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0)


def test_the_path_does_not_depend_on_the_units_of_the_parameters() -> None:
    """What makes it a natural gradient; rules that divide by the root of F do not have it."""
    units = torch.tensor([1e-2, 1.0, 1e2], dtype=torch.float64)
    plain = parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    scaled = parameter(plain.detach() / units)
    optimisers = [DiagonalFisher([p], lr=0.01, damping=1e-18) for p in (plain, scaled)]
    for step in range(30):
        gradient = plain.detach() + normal(step, 3).double()
        plain.grad, scaled.grad = gradient, gradient * units
        for optimiser in optimisers:
            optimiser.step()
    torch.testing.assert_close(scaled.detach() * units, plain.detach(), rtol=1e-6, atol=0)
    assert (plain.detach() - torch.tensor([1.0, -2.0, 3.0])).abs().min() > 1e-2


@pytest.mark.parametrize("change", [{"damping": 0.0}, {"betas": (0.9, 1.0)}])
def test_numbers_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="damping"):
        DiagonalFisher([parameter(torch.zeros(2))], lr=0.1, **change)  # type: ignore[arg-type]


# --- exponentiated gradient ----------------------------------------------------------------------


def simplex(seed: int, num_outcomes: int) -> Tensor:
    return torch.softmax(2 * normal(seed, num_outcomes).double(), -1)


@given(seeds, st.integers(2, 30), st.floats(1e-3, 1e4))
def test_points_stay_on_the_simplex_whatever_the_rate(
    seed: int, num_outcomes: int, rate: float
) -> None:
    p = parameter(simplex(seed, num_outcomes), normal(seed + 1, num_outcomes).double())
    ExponentiatedGradient([p], lr=rate).step()
    moved = p.detach()
    assert torch.isfinite(moved).all()
    assert (moved >= 0).all()
    assert float(moved.sum()) == pytest.approx(1, abs=1e-12)


@given(seeds, st.integers(2, 30))
def test_a_step_is_the_multiplicative_update_and_a_gradient_step_on_logits(
    seed: int, num_outcomes: int
) -> None:
    start, gradient = simplex(seed, num_outcomes), normal(seed + 1, num_outcomes).double()
    p = parameter(start, gradient)
    ExponentiatedGradient([p], lr=0.3).step()
    product = start * torch.exp(-0.3 * gradient)
    torch.testing.assert_close(p.detach(), product / product.sum())
    logits = start.log() + 7.0 - 0.3 * gradient  # any logits that mirror p
    torch.testing.assert_close(p.detach(), torch.softmax(logits, -1))


@given(seeds, st.integers(2, 10))
def test_a_step_minimises_the_linear_loss_plus_the_divergence(seed: int, num_outcomes: int) -> None:
    start, gradient = simplex(seed, num_outcomes), normal(seed + 1, num_outcomes).double()
    p = parameter(start, gradient)
    ExponentiatedGradient([p], lr=0.3).step()

    def cost(q: Tensor) -> float:
        return float(gradient @ q + (q * (q / start).log()).sum() / 0.3)

    best = cost(p.detach())
    for other in range(20):
        assert best <= cost(simplex(seed + 2 + other, num_outcomes)) + 1e-12


def descends(loss: Callable[[Tensor], Tensor], start: Tensor, rate: float) -> list[float]:
    p = torch.nn.Parameter(start.clone())
    optimiser = ExponentiatedGradient([p], lr=rate)
    values = []
    for _ in range(200):
        value = loss(p)
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        values.append(float(value.detach()))
    return values


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_descends_to_the_best_mixture(seed: int) -> None:
    """KL(target, p): its only minimum is the target, and every step goes down."""
    target, start = simplex(seed, 8), simplex(seed + 50, 8)
    values = descends(lambda p: (target * (target / p).log()).sum(), start, 0.05)
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(values))
    assert values[-1] < 0.01 * values[0]


def test_zeros_stay_zero() -> None:
    p = parameter(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([1.0, 0.0, -100.0]))
    ExponentiatedGradient([p], lr=1.0).step()
    assert float(p.detach()[2]) == 0
    assert float(p.detach().sum()) == pytest.approx(1)


def test_what_is_not_on_the_simplex_is_refused() -> None:
    with pytest.raises(ConfigError, match="sum to 1"):
        ExponentiatedGradient([torch.nn.Parameter(torch.ones(3))], lr=0.1)
    with pytest.raises(ConfigError, match="above 0"):
        ExponentiatedGradient([parameter(simplex(0, 3))], lr=0.0)
