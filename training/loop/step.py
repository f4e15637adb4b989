"""Take one optimisation step: forward, backward, sum over workers, clip, update.

Gradients of all parameters lie in one flat buffer, so that workers exchange a single tensor; a few
numbers ride along: the loss, how many workers want to stop, and the objective's terms. A step whose
loss or gradient is not finite leaves the weights and the optimiser as they were.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from constellation.errors import ConfigError
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.loss import IGNORED
from training.loop.objective import Objective, ObjectiveConfig
from training.loop.optimisers.fisher import DiagonalFisher
from training.loop.optimisers.muon import Muon, muon_groups
from training.recipe import Device, OptimiserSection, Precision, StageSection


class Peers(Protocol):
    """The workers that train one kernel together."""

    rank: int
    world: int

    def sum(self, tensor: Tensor) -> None:
        """Replace `tensor` by its sum over all workers, bitwise the same for each."""

    def wait(self) -> None:
        """Return when all workers have called this method."""


class Alone:
    """A single worker."""

    rank = 0
    world = 1

    def sum(self, tensor: Tensor) -> None:
        """Leave the tensor as it is."""

    def wait(self) -> None:
        """Return at once."""


class StepConfig(StageSection, OptimiserSection):
    """Settings of the optimiser, its schedule, and how a step is computed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """What one step measured, the same on every worker."""

    loss_nats: float
    """Mean cross-entropy of the batch, nats per token."""
    gradient_norm: float
    """Norm of the gradient before clipping."""
    learning_rate: float
    stop: bool
    """Whether some worker wants to stop."""
    taken: bool
    """False when loss or gradient were not finite: nothing has moved."""
    terms: Mapping[str, float] = field(default_factory=dict)
    """Name of an extra term of the objective -> its value, unweighted."""


def learning_rate(config: StepConfig, step: int) -> float:
    """Return the rate of a step (from 0): linear warm-up, then half a cosine to the final one."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / (config.warmup_steps + 1)
    span = max(1, config.steps - 1 - config.warmup_steps)
    done = min(1.0, (step - config.warmup_steps) / span)
    share = config.final_share + (1 - config.final_share) * (1 + math.cos(math.pi * done)) / 2
    return config.learning_rate * share


def build_optimiser(decoder: Decoder, config: StepConfig) -> torch.optim.Optimizer:
    """Return an optimiser that decays matrices and leaves vectors and couplings alone."""
    rate, betas = config.learning_rate, (config.beta1, config.beta2)
    groups = decoder.parameter_groups(weight_decay=config.weight_decay)
    if config.kind == "muon":
        split = muon_groups(decoder, groups)
        return Muon(split, lr=rate, betas=betas, momentum=config.momentum)
    if config.kind == "diagonal_fisher":
        return DiagonalFisher(groups, lr=rate, betas=betas, damping=config.damping)
    return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)


def choose_device(device: Device) -> torch.device:
    """Return the device to train on.

    Raises:
        ConfigError: An accelerator is asked for and torch sees none.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise ConfigError("device is 'cuda' and torch sees no such device; use 'auto' or 'cpu'")
    return torch.device("cuda" if has_cuda and device != "cpu" else "cpu")


def use_bfloat16(precision: Precision, device: torch.device | None = None) -> bool:
    """Return whether matrix products run in bfloat16; auto asks the processor.

    On processors without the instructions bfloat16 is emulated and slower than float32.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device is not None and device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    ask: Callable[[], dict[str, object]] = getattr(torch.cpu, "get_capabilities", dict)
    capabilities = ask()  # an older torch cannot tell
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


class Stepper:
    """Holds the gradient buffer of one kernel and takes its steps."""

    def __init__(
        self,
        decoder: Decoder,
        config: StepConfig,
        peers: Peers,
        objective: Objective | None = None,
    ) -> None:
        """Make the optimiser and point every parameter's gradient into one buffer.

        Without an objective, plain cross-entropy is minimised. The network is on its device
        already.
        """
        self.optimiser = build_optimiser(decoder, config)
        self._objective = objective or Objective(ObjectiveConfig(), decoder)
        self._config = config
        self._peers = peers
        self._device = decoder.embedding.device
        self._bfloat16 = use_bfloat16(config.precision, self._device)
        parameters = [p for p in decoder.parameters() if p.requires_grad]
        num_numbers = sum(parameter.numel() for parameter in parameters)
        num_extra = 2 + self._objective.num_extra
        self._buffer = torch.zeros(num_numbers + num_extra, device=self._device)
        self._gradient, self._extra = self._buffer[:num_numbers], self._buffer[num_numbers:]
        start = 0
        for parameter in parameters:
            end = start + parameter.numel()
            parameter.grad = self._gradient[start:end].view_as(parameter)
            start = end

    def step(
        self,
        inputs_BT: Tensor,
        targets_BT: Tensor,
        index: int,
        *,
        stop: bool,
        rate_factor: float = 1.0,
        num_counted: int | None = None,
    ) -> StepResult:
        """Take one step.

        Args:
            inputs_BT: This worker's token ids.
            targets_BT: The tokens that follow them.
            index: Of the step, from 0: sets the learning rate.
            stop: Whether this worker wants to stop; the step is taken all the same.
            rate_factor: The scheduled learning rate is multiplied by it.
            num_counted: Targets that count in the whole batch, over all workers; None: all targets
                count, those of every sequence.
        """
        self._buffer.zero_()
        parts = self._config.accumulation_steps
        for inputs, targets in zip(
            inputs_BT.tensor_split(parts), targets_BT.tensor_split(parts), strict=True
        ):
            if len(inputs):
                share = self._share(targets, num_counted)
                self._accumulate(inputs.to(self._device), targets.to(self._device), share)
        self._extra[1] = float(stop)
        self._peers.sum(self._buffer)
        norm = float(torch.linalg.vector_norm(self._gradient))
        loss_nats, wants_stop = self._extra[:2].tolist()
        rate = learning_rate(self._config, index) * rate_factor
        taken = math.isfinite(norm) and math.isfinite(loss_nats)
        return StepResult(
            loss_nats=loss_nats,
            gradient_norm=norm,
            learning_rate=rate,
            stop=wants_stop > 0,
            taken=taken,
            terms=self._move(norm, rate) if taken else {},
        )

    def _share(self, targets_BT: Tensor, num_counted: int | None) -> float:
        """Return the part that these targets are of the whole batch's that count."""
        # Shares, not means, so that workers with unequal parts still sum to the batch's mean.
        if num_counted is None:
            return len(targets_BT) / self._config.batch_size
        return int((targets_BT != IGNORED).sum()) / max(1, num_counted)

    def _accumulate(self, inputs_BT: Tensor, targets_BT: Tensor, share: float) -> None:
        """Add the gradient and the numbers of a part of the batch."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            evaluated = self._objective(inputs_BT, targets_BT)
            loss = evaluated.loss * share
        loss.backward()  # type: ignore[no-untyped-call]
        self._extra[0] += evaluated.nats * share
        if evaluated.extra_E is not None:
            self._extra[2:] += evaluated.extra_E * share

    def _move(self, norm: float, rate: float) -> dict[str, float]:
        """Clip the gradient, update the parameters, and return the objective's terms."""
        if norm > self._config.clip_norm:
            self._gradient *= self._config.clip_norm / norm
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        return self._objective.took(self._extra[2:])
