"""One optimisation step: forward, backward, sum over workers, clip, AdamW.

Gradients of all parameters lie in one flat buffer, so that workers exchange a single tensor;
two numbers ride along: the loss, and how many workers want to stop.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from constellation.errors import ConfigError
from constellation.kernel.decoder import Decoder

Precision = Literal["auto", "float32", "bfloat16"]


class Peers(Protocol):
    """The workers that train one kernel together."""

    rank: int
    world: int

    def sum(self, tensor: Tensor) -> None:
        """Replace `tensor` by its sum over all workers, bitwise the same for each."""

    def wait(self) -> None:
        """Return when all workers have called this."""


class Alone:
    """A single worker."""

    rank = 0
    world = 1

    def sum(self, tensor: Tensor) -> None:
        """Leave the tensor as it is."""

    def wait(self) -> None:
        """Return at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepConfig:
    """Settings of AdamW, its schedule, and the precision."""

    steps: int
    """Steps of the whole stage."""
    batch_size: int
    """Sequences per step over all workers."""
    learning_rate: float
    """Highest rate, reached after the warm-up."""
    warmup_steps: int = 10
    """Steps of linear warm-up."""
    final_share: float = 0.1
    """Rate at the last step over the highest, in [0, 1]."""
    weight_decay: float = 0.1
    """Of matrices only."""
    beta1: float = 0.9
    """Decay of the gradient's mean."""
    beta2: float = 0.95
    """Decay of the gradient's square."""
    clip_norm: float = 1.0
    """Largest norm of the whole gradient."""
    precision: Precision = "auto"
    """Of matrix products."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or self.warmup_steps < 0:
            raise ConfigError(
                "need steps >= 1, batch_size >= 1 and warmup_steps >= 0, got "
                f"{self.steps}, {self.batch_size} and {self.warmup_steps}"
            )
        if not (self.learning_rate > 0 and self.clip_norm > 0 and 0 <= self.final_share <= 1):
            raise ConfigError(
                "need learning_rate > 0, clip_norm > 0 and final_share in [0, 1], got "
                f"{self.learning_rate}, {self.clip_norm} and {self.final_share}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """What one step measured, the same on every worker."""

    loss_nats: float
    """Mean cross-entropy of the batch, nats per token."""
    gradient_norm: float
    """Before clipping."""
    learning_rate: float
    stop: bool
    """Some worker wants to stop."""


def learning_rate(config: StepConfig, step: int) -> float:
    """Return the rate of a step (from 0): linear warm-up, then half a cosine to the final one."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / (config.warmup_steps + 1)
    span = max(1, config.steps - 1 - config.warmup_steps)
    done = min(1.0, (step - config.warmup_steps) / span)
    share = config.final_share + (1 - config.final_share) * (1 + math.cos(math.pi * done)) / 2
    return config.learning_rate * share


def build_optimiser(decoder: Decoder, config: StepConfig) -> torch.optim.AdamW:
    """Return AdamW that decays matrices and leaves vectors and couplings alone."""
    groups = decoder.parameter_groups(weight_decay=config.weight_decay)
    return torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True
    )


def use_bfloat16(precision: Precision) -> bool:
    """Return whether matrix products run in bfloat16; auto asks the processor.

    On processors without the instructions bfloat16 is emulated and slower than float32.
    """
    if precision != "auto":
        return precision == "bfloat16"
    ask: Callable[[], dict[str, object]] = getattr(torch.cpu, "get_capabilities", dict)
    capabilities = ask()  # an older torch cannot tell
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


class Stepper:
    """Holds the gradient buffer of one kernel and takes its steps."""

    def __init__(self, decoder: Decoder, config: StepConfig, peers: Peers) -> None:
        """Make the optimiser and point every parameter's gradient into one buffer."""
        self.optimiser = build_optimiser(decoder, config)
        self._decoder = decoder
        self._config = config
        self._peers = peers
        self._bfloat16 = use_bfloat16(config.precision)
        parameters = list(decoder.parameters())
        num_numbers = sum(parameter.numel() for parameter in parameters)
        self._buffer = torch.zeros(num_numbers + 2)
        self._gradient, self._extra = self._buffer[:num_numbers], self._buffer[num_numbers:]
        start = 0
        for parameter in parameters:
            end = start + parameter.numel()
            parameter.grad = self._gradient[start:end].view_as(parameter)
            start = end

    def step(self, inputs_BT: Tensor, targets_BT: Tensor, index: int, *, stop: bool) -> StepResult:
        """Take one step.

        Args:
            inputs_BT: This worker's token ids.
            targets_BT: The tokens that follow them.
            index: Of the step, from 0: sets the learning rate.
            stop: Whether this worker wants to stop; the step is taken all the same.
        """
        self._buffer.zero_()
        # Shares, not means, so that workers with unequal parts still sum to the batch's mean.
        share = len(inputs_BT) / self._config.batch_size
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            loss = self._decoder.loss(inputs_BT, targets_BT) * share
        loss.backward()  # type: ignore[no-untyped-call]
        self._extra[0], self._extra[1] = loss.detach(), float(stop)
        self._peers.sum(self._buffer)
        norm = float(torch.linalg.vector_norm(self._gradient))
        if norm > self._config.clip_norm:
            self._gradient *= self._config.clip_norm / norm
        rate = learning_rate(self._config, index)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        return StepResult(
            loss_nats=float(self._extra[0]),
            gradient_norm=norm,
            learning_rate=rate,
            stop=bool(self._extra[1] > 0),
        )
