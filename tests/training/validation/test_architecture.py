"""Every check passes on what is sound and fails on the defect it is there for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from constellation.kernel.network import attention, cache, recursion
from constellation.kernel.network.basin_head import BasinHead
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from training.validation.architecture import check_architecture
from training.validation.check import Check

FULL = KernelConfig(
    vocab_size=61,
    width=32,
    num_layers=2,
    num_heads=2,
    mlp_width=40,
    context=24,
    recurrent_layers=(1,),
    loops_max=4,
    basin_outcomes=16,
)
PLAIN = replace(FULL, attention="dot", recurrent_layers=(), basin_outcomes=None)
NAMES = (
    "causality",
    "shapes and parameter count",
    "gradient flow",
    "recursion depth",
    "attention couplings",
    "basin head",
)
Defect = Callable[[pytest.MonkeyPatch, Decoder], None]


def checked(decoder: Decoder) -> dict[str, Check]:
    return {check.name: check for check in check_architecture(decoder)}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "config",
    [
        FULL,
        replace(FULL, attention="fisher_rao", loops_max=6, depth_threshold=0.01),
        replace(FULL, running_coupling=False),
        replace(FULL, beta_frozen=0.2, context=512),
        replace(PLAIN, style="post_norm"),
    ],
)
def test_a_sound_architecture_passes(config: KernelConfig, seed: int) -> None:
    found = checked(Decoder(config, seed=seed))
    assert tuple(found) == NAMES
    assert [check.detail for check in found.values() if check.passed is False] == []
    assert (found["recursion depth"].passed is None) == (not config.recurrent_layers)
    assert (found["attention couplings"].passed is None) == (config.attention == "dot")
    assert (found["basin head"].passed is None) == (config.basin_outcomes is None)


def test_checking_leaves_weights_and_gradients_alone() -> None:
    decoder = Decoder(FULL, seed=0)
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    check_architecture(decoder)
    assert all(torch.equal(value, before[name]) for name, value in decoder.state_dict().items())
    assert all(parameter.grad is None for parameter in decoder.parameters())


def see_the_future(patch: pytest.MonkeyPatch, decoder: Decoder) -> None:
    real = functional.scaled_dot_product_attention

    def uncausal(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        return real(query, key, value, scale=options["scale"])

    patch.setattr(attention.functional, "scaled_dot_product_attention", uncausal)


def forget_the_cache(patch: pytest.MonkeyPatch, decoder: Decoder) -> None:
    real = cache.LayerCache.append

    def forgetful(self: cache.LayerCache, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = real(self, key, value)
        return torch.zeros_like(keys).where(torch.arange(keys.shape[2])[:, None] < 1, keys), values

    patch.setattr(cache.LayerCache, "append", forgetful)


def hold_one_number_more(patch: pytest.MonkeyPatch, decoder: Decoder) -> None:
    decoder.register_parameter("more", nn.Parameter(torch.zeros(1)))


def freeze(patch: pytest.MonkeyPatch, decoder: Decoder) -> None:
    decoder.blocks[0].down.weight.requires_grad_(False)


def cut_the_gradient(patch: pytest.MonkeyPatch, decoder: Decoder) -> None:
    block = decoder.blocks[0]
    real = block.mlp_norm.forward
    patch.setattr(block.mlp_norm, "forward", lambda x_BTC: real(x_BTC).detach())


def pass_once(patch: pytest.MonkeyPatch, decoder: Decoder) -> None:
    """Pass once and claim four passes."""

    def once(
        self: recursion.RecurrentBlock,
        x_BTC: Tensor,
        phases: Tensor,
        scale: Tensor,
        caches: Any,
        readout: Any,
        depths: recursion.Depths | None = None,
    ) -> Tensor:
        if depths is not None:
            depths.add(4 * x_BTC.shape[0] * x_BTC.shape[1], x_BTC.shape[0] * x_BTC.shape[1])
        return self.block(x_BTC, phases, scale, None if caches is None else caches[0])

    patch.setattr(recursion.RecurrentBlock, "forward", once)


def couple_far_too_strongly(patch: pytest.MonkeyPatch, decoder: Decoder) -> None:
    assert decoder.coupling is not None
    nn.init.constant_(decoder.coupling.log_kappa_NH, 9.0)


def ignore_the_coupling(patch: pytest.MonkeyPatch, decoder: Decoder) -> None:
    real = attention.amplitudes
    patch.setattr(attention, "amplitudes", lambda v, scale: real(v, 10 * torch.ones_like(scale)))


def ignore_the_length(patch: pytest.MonkeyPatch, decoder: Decoder) -> None:
    def constant(
        self: attention.Coupling, kappa_N1H: Tensor, positions: attention.Positions
    ) -> Tensor:
        return kappa_N1H + 0 * self.beta_NH.unsqueeze(1)

    patch.setattr(attention.Coupling, "_running", constant)


def always_say_the_same_basin(patch: pytest.MonkeyPatch, decoder: Decoder) -> None:
    def constant(self: BasinHead, hidden_BTC: Tensor) -> Tensor:
        return torch.full((hidden_BTC.shape[0], 16), 1 / 16) + 0 * self.weight.sum()

    patch.setattr(BasinHead, "forward", constant)


def leave_the_simplex(patch: pytest.MonkeyPatch, decoder: Decoder) -> None:
    real = BasinHead.forward
    patch.setattr(BasinHead, "forward", lambda self, hidden_BTC: 2 * real(self, hidden_BTC))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("defect", "name", "said"),
    [
        (see_the_future, "causality", "later tokens change"),
        (forget_the_cache, "causality", "with a cache"),
        (hold_one_number_more, "shapes and parameter count", "the formula says"),
        (freeze, "gradient flow", "blocks.0.down.weight"),
        (cut_the_gradient, "gradient flow", "blocks.0.mlp_norm.weight"),
        (pass_once, "recursion depth", "fewest passes counted 1"),
        (couple_far_too_strongly, "attention couplings", "8.1e+03"),
        (ignore_the_coupling, "attention couplings", "twice the coupling 0.0%"),
        (ignore_the_length, "attention couplings", "slopes of -0.5 and 0.5 0.0%"),
        (always_say_the_same_basin, "basin head", "0.0000 rad apart"),
        (leave_the_simplex, "basin head", "off the simplex"),
    ],
)
def test_a_planted_defect_is_found(
    defect: Defect, name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = Decoder(FULL, seed=0)
    defect(monkeypatch, decoder)
    found = checked(decoder)
    assert found[name].passed is False
    assert said in found[name].detail
    assert found[name].verdict == "FAILED"
