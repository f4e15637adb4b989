"""Turns the steps of one kernel's training into reports of progress, not too often."""

import math
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from constellation.kernel.network.decoder import Decoder
from training.guards.probe import Probed
from training.loop.job import Job
from training.loop.step import StepResult
from training.progress.events import GuardState, KernelProgress, Phase

PROGRESS_EVERY_S = 0.5
"""Seconds between reports of progress; the first and last step are always reported, and so is every
held-out figure, at the step it was measured."""

Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where the loop stands after a step."""

    step: int
    """Steps taken."""
    batches: int
    """Batches read; more than steps when a guard went back."""
    result: StepResult
    dev_nats: float | None
    """Held-out cross-entropy at the last checkpoint."""
    probed: Probed
    """What the last probe found."""
    phase: Phase | None
    guard: GuardState


class Reporter:
    """Reports one job's progress."""

    def __init__(
        self,
        job: Job,
        decoder: Decoder,
        context: int,
        tell: Callable[[KernelProgress], None],
        clock: Clock,
    ) -> None:
        """Start the clock, which gives seconds; `context` is the number of tokens of a window."""
        self._job = job
        self._decoder = decoder
        self._tokens_per_step = job.step.batch_size * context
        self._tell = tell
        self._clock = clock
        self._started_s = clock()
        self._reported_s: float | None = None
        self._measured: tuple[float | None, Probed] = (None, Probed())
        self._taken = 0

    def report(self, standing: Standing) -> None:
        """Take note of a step, and report it when it is time to."""
        self._taken += 1
        now_s = self._clock()
        last = standing.step == self._job.step.steps or standing.result.stop
        recent = self._reported_s is not None and now_s - self._reported_s < PROGRESS_EVERY_S
        measured = (standing.dev_nats, standing.probed)
        if recent and not last and measured == self._measured:
            return
        self._measured = measured
        self._reported_s = now_s
        seconds_per_step = max(1e-9, now_s - self._started_s) / self._taken
        self._tell(self._progress(standing, seconds_per_step))

    def _progress(self, standing: Standing, seconds_per_step: float) -> KernelProgress:
        result, probed = standing.result, standing.probed
        return KernelProgress(
            kernel=self._job.kernel,
            stage=self._job.stage,
            step=standing.step,
            num_steps=self._job.step.steps,
            loss_bits=result.loss_nats / math.log(2),
            bits_per_byte=self._bits_per_byte(result.loss_nats),
            tokens_per_second=self._tokens_per_step / seconds_per_step,
            eta_s=seconds_per_step * (self._job.step.steps - standing.step),
            gradient_norm=result.gradient_norm,
            learning_rate=result.learning_rate,
            tokens=standing.batches * self._tokens_per_step,
            memory_bytes=peak_memory_bytes(),
            dev_bits_per_byte=(
                None if standing.dev_nats is None else self._bits_per_byte(standing.dev_nats)
            ),
            terms=dict(result.terms),
            phi=probed.phi,
            phi_gauge=probed.phi_gauge,
            kappa=_mean_kappa(self._decoder),
            basin_distance=probed.basin_distance,
            depth=probed.depth,
            phase=standing.phase,
            guard=standing.guard,
        )

    def _bits_per_byte(self, nats: float) -> float:
        return nats / math.log(2) / self._job.bytes_per_token


def peak_memory_bytes() -> int:
    """Return the most resident memory this process ever had."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Not `ru_maxrss`: on Linux a process starts with its parent's.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024


def _mean_kappa(decoder: Decoder) -> float | None:
    if decoder.coupling is None:
        return None
    return float(decoder.coupling.log_kappa_NH.detach().exp().mean())
