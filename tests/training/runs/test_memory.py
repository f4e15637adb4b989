"""The memory formula against what autograd really keeps, and its behaviour."""

from dataclasses import replace

import pytest
import torch

from constellation.errors import ConfigError
from constellation.kernel.network.config import PRESETS, AttentionKind, KernelConfig
from constellation.kernel.network.decoder import Decoder
from training.runs.kernel_memory import layer_bytes_per_token, training_memory

SMALL = KernelConfig(
    vocab_size=300, width=128, num_layers=1, num_heads=2, mlp_width=320, context=256
)


def kept_bytes(config: KernelConfig, batch_size: int, *, bfloat16: bool) -> int:
    """Return the bytes of all storages that autograd keeps, parameters left out."""
    decoder = Decoder(config, seed=0)
    own = {parameter.untyped_storage().data_ptr() for parameter in decoder.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    tokens = torch.zeros(batch_size, config.context, dtype=torch.long)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=bfloat16),
    ):
        decoder.loss(tokens, tokens)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.slow
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("attention", ["dot", "qfi", "fisher_rao"])
@pytest.mark.parametrize(("width", "mlp_width"), [(128, 320), (256, 320), (128, 768)])
def test_a_layer_keeps_what_the_formula_says(
    attention: AttentionKind, width: int, mlp_width: int, bfloat16: bool
) -> None:
    one = replace(SMALL, attention=attention, width=width, mlp_width=mlp_width)
    two = replace(one, num_layers=2)
    batch_size = 4
    measured = kept_bytes(two, batch_size, bfloat16=bfloat16)
    measured -= kept_bytes(one, batch_size, bfloat16=bfloat16)
    if bfloat16:  # the cast weights are counted once for all tokens
        measured -= 2 * (two.num_parameters() - one.num_parameters())
    predicted = batch_size * one.context * layer_bytes_per_token(one, bfloat16=bfloat16)
    assert predicted == pytest.approx(measured, rel=0.15)


def test_parts_add_up_and_grow_with_what_they_depend_on() -> None:
    config = PRESETS["spark"]
    small = training_memory(config, batch_size=1)
    held = small.process + small.weights + small.gradients + small.optimiser
    assert small.weights == 4 * config.num_parameters() == small.gradients
    assert small.optimiser == 2 * small.weights
    assert small.peak == held + max(small.activations, small.checkpoint)
    large = training_memory(config, batch_size=64)
    assert large.activations > large.checkpoint
    assert large.peak > 2 * small.peak
    assert training_memory(config, batch_size=64, bfloat16=True).peak < large.peak
    fewer = training_memory(config, batch_size=1, state_numbers=1)
    assert fewer.optimiser == fewer.weights
    with pytest.raises(ConfigError, match="batch_size is 0"):
        training_memory(config, batch_size=0)
