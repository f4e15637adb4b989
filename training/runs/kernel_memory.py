"""Compute the memory that training one kernel takes, by formula.

    peak = process + weights + gradients + optimiser + max(activations, checkpoint)

During a step the activations are held; while a checkpoint is written, two copies of its contents
and no activations. The factors per token and layer were counted from the tensors that autograd
stores, the process size was measured in real runs (docs/log.md, 2026-11-21); tests compare both.

Pure formulas. Shapes: C channels, M hidden channels of the MLP.
"""

from dataclasses import dataclass
from typing import Final

from constellation.errors import ConfigError
from constellation.kernel.network.config import KernelConfig

PROCESS_BYTES: Final = 460 * 2**20
"""Memory of an idle Ray Train worker: Python, torch with its optimisers, Ray, pyarrow."""

_FLOAT_BYTES: Final = 4
_HALF_BYTES: Final = 2
_BACKWARD_LAYERS: Final = 2.5
"""Number of layers whose activations are also held as gradients during the backward pass."""
_CHECKPOINT_COPIES: Final = 2
"""Copies of the tensors during a save: safetensors makes bytes of each, then one file of all."""
_LOGIT_BYTES: Final = 3 * 2**24
"""Bytes of a chunk of logits, their logarithms and their gradient (`kernel/network/loss.py`)."""

_CHANNELS: Final = {
    ("dot", False): 10, ("qfi", False): 10, ("fisher_rao", False): 12,
    ("dot", True): 12, ("qfi", True): 16, ("fisher_rao", True): 16,
}  # fmt: skip
"""Attention kind and bfloat16 -> numbers kept per token, layer and channel for the backward."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingMemory:
    """Parts of one worker's peak memory, in bytes."""

    weights: int
    gradients: int
    optimiser: int
    """State of the optimiser for all parameters."""
    activations: int
    """Activations stored for the backward pass, and gradients held during it."""
    checkpoint: int
    """Copies made while a checkpoint is written."""
    process: int
    """Interpreter and libraries."""

    @property
    def peak(self) -> int:
        """Largest memory held at one time, in bytes."""
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
    """Return the memory of one worker that trains a kernel.

    Args:
        config: The kernel's shape.
        batch_size: Sequences of `config.context` tokens this worker holds at once, >= 1.
        bfloat16: Whether matrix products run in bfloat16; weights stay float32.
        state_numbers: Numbers the optimiser keeps per parameter: 2 for AdamW.
        process_bytes: Memory of the idle process.

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
    """Return the bytes per token that one layer stores for the backward pass.

    float32: 4 (c C + 4 M), bfloat16: 2 (c C + 4 M), c by kind of attention and precision
    """
    channels = _CHANNELS[config.attention, bfloat16] * config.width
    return (_HALF_BYTES if bfloat16 else _FLOAT_BYTES) * (channels + 4 * config.mlp_width)
