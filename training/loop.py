"""Train one kernel: steps, checkpoints, progress, a clean stop. Knows nothing of Ray.

N steps give the same bits as k steps, a kill, and a resumed run: batches are a function of the
step, and a checkpoint holds weights, optimiser and random state.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from constellation.kernel.decoder import Decoder
from training.checkpoints import CheckpointFolder, restore
from training.data import Windows
from training.events import KernelProgress
from training.step import Alone, Peers, StepConfig, Stepper, StepResult, use_bfloat16

PROGRESS_EVERY_S = 0.5
"""Seconds between reports of progress; the first and last step are always reported."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """The training of one kernel."""

    kernel: str
    """Its name."""
    stage: str
    """"seed" or "branch"."""
    step: StepConfig
    """Optimiser and number of steps."""
    bytes_per_token: float
    """Mean bytes of a training token, to report bits per byte."""
    checkpoint_every: int = 50
    """Steps between checkpoints; the last step always has one."""
    keep_last: int = 2
    """Checkpoints kept beside the best."""
    dev_windows: int = 16
    """Held-out windows scored at each checkpoint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobResult:
    """How a job ended. When it is finished, the decoder holds the best checkpoint's weights."""

    finished: bool
    """False when it was stopped; run it again to resume."""
    steps: int
    """Steps taken in all."""
    dev_nats: float | None
    """Best held-out cross-entropy so far, nats per token; None before the first checkpoint."""
    best_step: int | None
    """Steps taken at the best checkpoint."""


def run_job(
    job: Job,
    decoder: Decoder,
    train: Windows,
    dev: Windows,
    folder: Path,
    *,
    peers: Peers | None = None,
    on_progress: Callable[[KernelProgress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.perf_counter,
) -> JobResult:
    """Train `decoder` to the end of the job, from the newest checkpoint in `folder` if any.

    Args:
        job: What to do.
        decoder: The network with its starting weights; changed in place.
        train: Training windows.
        dev: Held-out windows, to choose the best checkpoint.
        folder: For checkpoints; shared by all workers of this kernel.
        peers: The workers that train this kernel together; alone when left out.
        on_progress: Called by the first worker now and then.
        should_stop: Asked before each step; when any worker says yes, all take that step, write
            a checkpoint and return.
        clock: Seconds that never run backwards.

    Raises:
        TrainingError: A checkpoint cannot be written; the one before it is intact.
    """
    peers = peers or Alone()
    checkpoints = CheckpointFolder(folder, keep_last=job.keep_last)
    stepper = Stepper(decoder, job.step, peers)
    first = checkpoints.resume(decoder, stepper.optimiser)
    reporter = _Reporter(job, train.context, first, on_progress, clock)
    decoder.train()
    index, stop = first, False
    while index < job.step.steps and not stop:
        batch = train.batch(index, job.step.batch_size, rank=peers.rank, world=peers.world)
        result = stepper.step(*batch, index, stop=should_stop())
        index, stop = index + 1, result.stop
        due = index % job.checkpoint_every == 0 or index == job.step.steps
        if due and peers.rank == 0:
            nats = held_out_nats(decoder, dev, job.dev_windows, job.step)
            checkpoints.save(decoder, stepper.optimiser, step=index, dev_nats=nats)
            reporter.dev_nats = nats
        elif stop and peers.rank == 0:
            # Not scored: where a run is stopped must not decide which checkpoint is the best.
            checkpoints.save(decoder, stepper.optimiser, step=index, dev_nats=None)
        if peers.rank == 0:
            reporter.report(index, result)
    peers.wait()
    best = checkpoints.best()
    finished = index >= job.step.steps
    if finished:
        assert best is not None, "the last step always has a scored checkpoint"
        restore(best.path, decoder)
    return JobResult(
        finished=finished,
        steps=index,
        dev_nats=None if best is None else best.dev_nats,
        best_step=None if best is None else best.step,
    )


@torch.no_grad()
def held_out_nats(decoder: Decoder, dev: Windows, num_windows: int, config: StepConfig) -> float:
    """Return the mean cross-entropy in nats per token over the first held-out windows."""
    num_windows = min(num_windows, dev.per_epoch)
    total = 0.0
    with torch.autocast("cpu", torch.bfloat16, enabled=use_bfloat16(config.precision)):
        for index in range(num_windows):
            total += float(decoder.loss(*dev.batch(index, 1)))
    return total / num_windows


class _Reporter:
    """Turns steps into progress reports, not too often."""

    def __init__(
        self,
        job: Job,
        context: int,
        first_step: int,
        on_progress: Callable[[KernelProgress], None],
        clock: Callable[[], float],
    ) -> None:
        self.dev_nats: float | None = None
        self._job = job
        self._tokens_per_step = job.step.batch_size * context
        self._first_step = first_step
        self._on_progress = on_progress
        self._clock = clock
        self._started_s = clock()
        self._reported_s: float | None = None

    def report(self, step: int, result: StepResult) -> None:
        """Report the state after `step` steps when it is time to."""
        now_s = self._clock()
        last = step == self._job.step.steps or result.stop
        recent = self._reported_s is not None and now_s - self._reported_s < PROGRESS_EVERY_S
        if recent and not last:
            return
        self._reported_s = now_s
        seconds_per_step = max(1e-9, now_s - self._started_s) / (step - self._first_step)
        self._on_progress(
            KernelProgress(
                kernel=self._job.kernel,
                stage=self._job.stage,
                step=step,
                num_steps=self._job.step.steps,
                loss_bits=result.loss_nats / math.log(2),
                bits_per_byte=self._bits_per_byte(result.loss_nats),
                tokens_per_second=self._tokens_per_step / seconds_per_step,
                eta_s=seconds_per_step * (self._job.step.steps - step),
                gradient_norm=result.gradient_norm,
                dev_bits_per_byte=(
                    None if self.dev_nats is None else self._bits_per_byte(self.dev_nats)
                ),
            )
        )

    def _bits_per_byte(self, nats: float) -> float:
        return nats / math.log(2) / self._job.bytes_per_token
