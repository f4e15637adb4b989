"""Predict how long a kernel's training takes: model FLOPs over the speed measured here.

    step = 3 F(T / 2) B T / speed + c N
    run  = steps (step + scoring of held-out windows / steps between checkpoints)

F(T / 2): forward FLOPs of a token that sees half of the context, the mean of a causal text; times
three, the backward pass included. c N: clearing, measuring and moving N parameters, which does not
depend on the batch. Seconds are the processor's: on a machine with other work, and with several
threads, they are what a run costs, not how long one waits. Left out: reading text, checkpoints on
their way to the disk, guards' probes, terms of the objective beside the cross-entropy.

Shapes: B sequences, T context, N parameters.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch

from constellation.errors import ConfigError
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from training.loop.job import Job
from training.loop.step import Alone, StepConfig, Stepper
from training.recipe import Precision

BUDGET_FLOPS: Final = 5e10
"""Largest work of a measured step in FLOPs; takes a second on a slow core."""
TOKENS_LEAST: Final = 256
"""Fewest tokens of a measured step, whatever the budget: products of fewer rows are slower."""
REPEATS: Final = 5
"""Number of timed steps, of which the median is taken."""
PARAMETERS_MEASURED: Final = 4_000_000
"""Largest number of parameters moved to measure the time per parameter."""

BACKWARD_AND_FORWARD: Final = 3
"""Ratio of the FLOPs of a training step to those of the forward pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSpeed:
    """Training speed measured on this machine."""

    flops_per_second: float
    """Model FLOPs of forward and backward passes per processor second."""
    seconds_per_parameter: float
    """Processor seconds of the optimiser and the gradient buffer per parameter and step."""

    def __post_init__(self) -> None:
        if not (self.flops_per_second > 0 and self.seconds_per_parameter >= 0):
            raise ConfigError(
                "need flops_per_second > 0 and seconds_per_parameter >= 0, got "
                f"{self.flops_per_second} and {self.seconds_per_parameter}"
            )


def step_flops(config: KernelConfig, batch_size: int) -> int:
    """Return the model FLOPs of a training step of `batch_size` whole contexts."""
    per_token = config.flops_per_token(max(1, config.context // 2))
    return BACKWARD_AND_FORWARD * per_token * batch_size * config.context


def job_tokens(job: Job, config: KernelConfig) -> int:
    """Return the training tokens of a job."""
    return job.step.steps * job.step.batch_size * config.context


def job_flops(job: Job, config: KernelConfig) -> int:
    """Return the model FLOPs of a job's steps and of the scoring at its checkpoints."""
    windows = job.dev_windows * -(-job.step.steps // job.checkpoint_every)
    scoring = step_flops(config, windows) // BACKWARD_AND_FORWARD
    return job.step.steps * step_flops(config, job.step.batch_size) + scoring


def predicted_seconds(job: Job, config: KernelConfig, speed: StepSpeed) -> float:
    """Return the processor seconds of a job's steps and of the scoring at its checkpoints.

    `speed` is measured with this shape and precision.
    """
    moving = job.step.steps * config.num_parameters() * speed.seconds_per_parameter
    return job_flops(job, config) / speed.flops_per_second + moving


def measure_speed(
    config: KernelConfig,
    *,
    batch_size: int,
    precision: Precision = "auto",
    budget_flops: float = BUDGET_FLOPS,
    clock: Callable[[], float] = time.process_time,
) -> StepSpeed:
    """Measure this machine's training speed on random tokens, with as many as the budget allows.

    Args:
        config: The kernel's shape. Shorter texts are read when a whole context is over the budget.
        batch_size: Most sequences of a measured step.
        precision: Precision of matrix products.
        budget_flops: Work of a measured step.
        clock: Processor seconds.
    """
    small, num_sequences = _within(config, batch_size, budget_flops)
    step = StepConfig(
        steps=REPEATS + 1,
        batch_size=num_sequences,
        learning_rate=1e-4,
        precision=precision,
        device="cpu",
    )
    stepper = Stepper(Decoder(small, seed=0), step, Alone())
    generator = torch.Generator().manual_seed(0)
    shape = (num_sequences, small.context + 1)
    tokens = torch.randint(small.vocab_size, shape, generator=generator)
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    seconds = _median_seconds(lambda: stepper.step(inputs, targets, 0, stop=False), clock=clock)
    per_parameter = _seconds_per_parameter(clock)
    rest = max(seconds - per_parameter * small.num_parameters(), seconds / 10)
    return StepSpeed(
        flops_per_second=step_flops(small, num_sequences) / rest,
        seconds_per_parameter=per_parameter,
    )


def _within(config: KernelConfig, batch_size: int, budget: float) -> tuple[KernelConfig, int]:
    """Return the shape with a context length, and a number of sequences, that fit the budget."""
    tokens = budget / (step_flops(config, 1) / config.context)
    context = int(min(config.context, max(tokens, TOKENS_LEAST)))
    return replace(config, context=context), max(1, min(batch_size, int(tokens / context)))


def _seconds_per_parameter(clock: Callable[[], float]) -> float:
    """Return the seconds that clearing, measuring and moving one parameter take."""
    parameter = torch.nn.Parameter(torch.ones(PARAMETERS_MEASURED // 1000, 1000))
    parameter.grad = torch.ones_like(parameter)
    optimiser = torch.optim.AdamW([parameter], lr=1e-4, fused=True)

    def move() -> None:
        assert parameter.grad is not None
        parameter.grad.zero_()
        float(torch.linalg.vector_norm(parameter.grad))
        optimiser.step()

    return _median_seconds(move, clock=clock) / parameter.numel()


def _median_seconds(work: Callable[[], object], *, clock: Callable[[], float]) -> float:
    """Return the median seconds of some calls, after one warm-up call that is not counted."""
    work()
    seconds = []
    for _ in range(REPEATS):
        started_s = clock()
        work()
        seconds.append(clock() - started_s)
    return statistics.median(seconds)
