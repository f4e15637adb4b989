"""Queries and keys lie where the geometry says, and couplings run as the formula says."""

import math

import pytest
import torch
from torch import Tensor

from constellation.kernel.network.attention import (
    COUPLING_FLOOR,
    Attention,
    Coupling,
    rotary_phases,
)
from constellation.kernel.network.config import ATTENTION_KINDS, AttentionKind
from constellation.kernel.network.sphere import amplitudes, simplex_roots
from tests.kernel.conftest import small_config

CPU = torch.device("cpu")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vectors(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def plain_amplitudes(v: Tensor, scale: Tensor) -> Tensor:
    return scale * v / v.norm(dim=-1, keepdim=True)


def plain_roots(v: Tensor, scale: Tensor) -> Tensor:
    return scale * torch.exp(torch.log_softmax(v, -1) / 2)


@pytest.mark.parametrize(
    ("lean", "plain"), [(amplitudes, plain_amplitudes), (simplex_roots, plain_roots)]
)
@pytest.mark.parametrize("num_scales", [5, 1])
def test_maps_to_the_sphere_equal_the_plain_forms_with_gradients(  # type: ignore[no-untyped-def]
    lean, plain, num_scales: int
) -> None:
    v, scale = vectors(3, 5, 2, 4, 6, scale=3), vectors(num_scales, 2, 4, 1, seed=1).abs()
    v.requires_grad_()
    scale.requires_grad_()
    ours, theirs = lean(v, scale), plain(v, scale)
    torch.testing.assert_close(ours, theirs)
    weights = vectors(3, 5, 2, 4, 6, seed=2)
    torch.testing.assert_close(
        torch.autograd.grad(ours, (v, scale), weights),
        torch.autograd.grad(theirs, (v, scale), weights),
    )


@pytest.mark.parametrize("lean", [amplitudes, simplex_roots])
@pytest.mark.parametrize("size", [0.0, 1e-8, 1e4])
def test_extreme_vectors_keep_finite_values_and_gradients(lean, size: float) -> None:  # type: ignore[no-untyped-def]
    v = vectors(1, 1, 2, 1, 8, scale=size).float().requires_grad_()
    result = lean(v, torch.ones(1, 2, 1, 1))
    result.sum().backward()
    assert torch.isfinite(result).all()
    assert v.grad is not None
    assert torch.isfinite(v.grad).all()


def heads(kind: AttentionKind) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys (both as if at position 0), and the vectors they were made from."""
    config = small_config(kind)
    attention = Attention(config)
    torch.nn.init.normal_(attention.qkv.weight, std=0.3, generator=seeded(1))
    x_BTC = vectors(2, 9, 32).float()
    still = rotary_phases(config, CPU)[:1].expand(9, -1, -1, -1)
    query, key, _ = attention.project(x_BTC, still, torch.ones(1, 2, 2, 1))
    raw = attention.qkv(x_BTC)[..., :64].view(2, 9, 2, 2, 16)
    return query, key, raw


@pytest.mark.parametrize("kind", ["qfi", "fisher_rao"])
def test_logits_are_kappa_times_a_cosine(kind: AttentionKind) -> None:
    query, key, _ = heads(kind)
    for side in (query, key):
        torch.testing.assert_close(side.norm(dim=-1), torch.ones(2, 2, 9))
    assert (query @ key.transpose(-1, -2)).abs().max() <= 1 + 1e-6


def test_qfi_keeps_signs_and_forgets_lengths() -> None:
    query, _, both = heads("qfi")
    raw = both[:, :, 0].transpose(1, 2)
    assert torch.equal(query.sign(), raw.sign())
    torch.testing.assert_close(query, raw / raw.norm(dim=-1, keepdim=True))


def test_fisher_rao_logits_are_bhattacharyya_coefficients() -> None:
    """cos(d / 2) = sum_k sqrt(p_k q_k) for the simplex points softmax(s v)."""
    query, key, raw = heads("fisher_rao")
    p, q = (small_config("fisher_rao").simplex_scale * raw).softmax(-1).unbind(2)
    direct = torch.einsum("bihk,bjhk->bhij", p.sqrt(), q.sqrt())
    torch.testing.assert_close(query @ key.transpose(-1, -2), direct)
    assert direct.std() > 0.01


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_scores_depend_on_relative_positions_only(kind: AttentionKind) -> None:
    config = small_config(kind)
    attention = Attention(config)
    torch.nn.init.normal_(attention.qkv.weight, std=0.1, generator=seeded(2))
    scale = None if kind == "dot" else torch.ones(1, 2, 2, 1)
    same_everywhere = vectors(1, 1, 32).float().expand(1, 24, 32)
    query, key, _ = attention.project(same_everywhere, rotary_phases(config, CPU), scale)
    scores = (query @ key.transpose(-1, -2))[0, 0]
    for offset in (1, 7):
        diagonal = scores.diagonal(-offset)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=0)
    assert not torch.allclose(scores[5, 0], scores[9, 0], atol=1e-3)


@pytest.mark.parametrize("start", [0, 5])
@pytest.mark.parametrize("beta", [-3.0, 0.0, 0.4])
def test_the_coupling_runs_with_the_number_of_visible_keys(start: int, beta: float) -> None:
    coupling = Coupling(small_config())
    torch.nn.init.constant_(coupling.beta_NH, beta)
    scale = coupling(slice(start, start + 6))
    assert scale.shape == (2, 6, 2, 2, 1)
    expected = [
        10 * max(COUPLING_FLOOR, 1 + beta * math.log(length / 8))
        for length in range(start + 1, start + 7)
    ]
    assert scale[1, :, 0, 1, 0].tolist() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(scale[:, :, 1], torch.ones(2, 6, 2, 1))


def test_a_frozen_slope_equals_a_learned_one_at_that_value() -> None:
    learned, frozen = Coupling(small_config()), Coupling(small_config(beta_frozen=0.4))
    torch.nn.init.constant_(learned.beta_NH, 0.4)
    torch.testing.assert_close(frozen(slice(2, 7)), learned(slice(2, 7)))
    assert [name for name, _ in frozen.named_parameters()] == ["log_kappa_NH"]


def test_without_running_coupling_every_length_has_the_same() -> None:
    scale = Coupling(small_config(running_coupling=False, coupling_start=3.0))(slice(4, 13))
    assert scale.shape == (2, 1, 2, 2, 1)
    torch.testing.assert_close(scale[:, :, 0], torch.full((2, 1, 2, 1), 3.0))
