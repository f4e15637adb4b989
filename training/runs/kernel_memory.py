"""How much memory the training of one kernel takes, by formula.

    peak = process + weights + gradients + optimiser + max(activations, checkpoint)

While a step runs its activations are alive; while a checkpoint is written two copies of all that
it holds are, and no activations. The factors per token and layer were read off the tensors that
autograd keeps, and the process off real runs (docs/log.md, 2026-11-21); tests compare both.

Pure formulas. Shapes: C channels, M hidden channels of the MLP.
"""

from dataclasses import dataclass
from typing import Final

from constellation.errors import ConfigError
from constellation.kernel.network.config import KernelConfig

PROCESS_BYTES: Final = 460 * 2**20
"""A Ray Train worker before it holds anything: Python, torch with its optimisers, Ray, pyarrow."""

_FLOAT_BYTES: Final = 4
_HALF_BYTES: Final = 2
_BACKWARD_LAYERS: Final = 2.5
"""Activations of so many layers are alive again as gradients while the backward pass runs."""
_CHECKPOINT_COPIES: Final = 2
"""safetensors makes bytes of every tensor, and then one file of them."""
_LOGIT_BYTES: Final = 3 * 2**24
"""A chunk of logits, their logarithms and their gradient (`kernel/network/loss.py`)."""

_CHANNELS: Final = {
    ("dot", False): 10, ("qfi", False): 10, ("fisher_rao", False): 12,
    ("dot", True): 12, ("qfi", True): 16, ("fisher_rao", True): 16,
}  # fmt: skip
"""Attention kind and bfloat16 -> numbers kept per token, layer and channel for the backward."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingMemory:
    """The parts of one worker's peak, in bytes."""

    weights: int
    gradients: int
    optimiser: int
    """State that the optimiser keeps per parameter."""
    activations: int
    """What the backward pass needs, and the gradients alive while it runs."""
    checkpoint: int
    """Copies made while a checkpoint is written."""
    process: int
    """Interpreter and libraries."""

    @property
    def peak(self) -> int:
        """Most that is held at one time."""
        held = self.process + self.weights + self.gradients + self.optimiser
        return held + max(self.activations, self.checkpoint)


def training_memory(
    config: KernelConfig,
    *,
    batch_size: int,
    bfloat16: bool = False,
    state_numbers: int = 2,
    process_bytes: int = PROCESS_BYTES,
) -> TrainingMemory:
    """Return what one worker needs to train a kernel.

    Args:
        config: The kernel's shape.
        batch_size: Sequences of `config.context` tokens this worker holds at once, >= 1.
        bfloat16: Whether matrix products run in bfloat16; weights stay float32.
        state_numbers: Numbers the optimiser keeps per parameter: 2 for AdamW.
        process_bytes: What the process takes before it holds anything.

    Raises:
        ConfigError: `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; it must be >= 1")
    weights = _FLOAT_BYTES * config.num_parameters()
    layer = batch_size * config.context * layer_bytes_per_token(config, bfloat16=bfloat16)
    ends = batch_size * config.context * 2 * config.width * _FLOAT_BYTES
    cast = weights // _FLOAT_BYTES * _HALF_BYTES if bfloat16 else 0
    return TrainingMemory(
        weights=weights,
        gradients=weights,
        optimiser=state_numbers * weights,
        activations=round((config.num_passes() + _BACKWARD_LAYERS) * layer)
        + ends
        + cast
        # The gradient of the tied embedding is made beside the buffer it is added to.
        + config.vocab_size * config.width * _FLOAT_BYTES
        + _LOGIT_BYTES,
        checkpoint=_CHECKPOINT_COPIES * (1 + state_numbers) * weights,
        process=process_bytes,
    )


def layer_bytes_per_token(config: KernelConfig, *, bfloat16: bool) -> int:
    """Return the bytes that one layer keeps per token until the backward pass.

    float32: 4 (c C + 4 M), bfloat16: 2 (c C + 4 M), c by kind of attention and precision
    """
    channels = _CHANNELS[config.attention, bfloat16] * config.width
    return (_HALF_BYTES if bfloat16 else _FLOAT_BYTES) * (channels + 4 * config.mlp_width)
