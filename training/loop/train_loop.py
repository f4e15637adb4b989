"""Train one kernel to the end of its job: steps, checkpoints, guards, progress, a clean stop.

Knows nothing of Ray.

N steps give the same bits as k steps, a kill, and a resumed run: batches are a function of the
step, and a checkpoint holds weights, optimiser, random state, and the guards' memory.

When a guard goes back from step n to a checkpoint of step c, the next step is c + 1, but its batch
is the one after the last that was read: no batch comes twice, a bad one least of all. The distance
between steps and batches is part of the checkpoint too. A run that is killed after it went back
resumes from the same checkpoint, meets the same batches and goes back again: the same bits.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from constellation.errors import ConfigError, TrainingError
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables.phi import PHI_POSITIONS, PhiReference
from training.basin_targets import BasinTarget, basin_target
from training.batches import Batches
from training.guards.guard import Decision, Facts, Guard
from training.guards.phase import PhaseTracker
from training.guards.probe import Probe, Probed
from training.loop.checkpoints import CheckpointFolder, restore
from training.loop.job import Job, JobResult
from training.loop.kernel_progress import Clock, Reporter, Standing
from training.loop.objective import Objective
from training.loop.step import (
    Alone,
    Peers,
    StepConfig,
    Stepper,
    StepResult,
    choose_device,
    use_bfloat16,
)
from training.progress.events import OnEvent, ignore
from training.run_files.shared_files import SHARED, RunFiles
from training.transfer.distil import load_soft_targets

__all__ = ["Job", "JobResult", "held_out_nats", "run_job"]


def run_job(
    job: Job,
    decoder: Decoder,
    train: Batches,
    dev: Batches,
    folder: Path,
    *,
    files: RunFiles = SHARED,
    peers: Peers | None = None,
    on_progress: OnEvent = ignore,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Clock = time.perf_counter,
) -> JobResult:
    """Train `decoder` to the end of the job, from the newest checkpoint in `folder` if any.

    Args:
        job: What to do.
        decoder: The network with its starting weights; changed in place, and moved to the job's
            device.
        train: What it learns from: windows of a stream, or pairs.
        dev: The same of held-out text, to choose the best checkpoint.
        folder: For checkpoints; the same to all workers of this kernel.
        files: Copies checkpoints from and to the folder of the run, where workers do not see it.
        peers: The workers that train this kernel together; alone when left out.
        on_progress: Called by the first worker with progress now and then, and with every change
            of guard and phase.
        should_stop: Asked before each step; when any worker says yes, all take that step, write
            a checkpoint and return.
        clock: Seconds that never run backwards.

    Raises:
        TrainingError: A checkpoint cannot be written, or the guard gave up; the last good
            checkpoint is intact.
        ConfigError: The job asks for what the network or the machine does not have.
    """
    checkpoints = CheckpointFolder(folder, keep_last=job.keep_last, files=files)
    training = _Training(
        job, decoder, train, dev, checkpoints, peers or Alone(), on_progress, clock
    )
    return training.run(should_stop)


@torch.no_grad()
def held_out_nats(decoder: Decoder, dev: Batches, num_windows: int, config: StepConfig) -> float:
    """Return the mean cross-entropy in nats per token over the first held-out windows."""
    num_windows = min(num_windows, dev.per_epoch)
    device = decoder.embedding.device
    total = 0.0
    bfloat16 = use_bfloat16(config.precision, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        for index in range(num_windows):
            inputs, targets = dev.batch(index, 1)
            total += float(decoder.loss(inputs.to(device), targets.to(device)))
    return total / num_windows


class _Training:
    """State of one running job."""

    def __init__(
        self,
        job: Job,
        decoder: Decoder,
        train: Batches,
        dev: Batches,
        checkpoints: CheckpointFolder,
        peers: Peers,
        tell: OnEvent,
        clock: Clock,
    ) -> None:
        self._job = job
        self._decoder = decoder.to(choose_device(job.step.device))
        self._train, self._dev = train, dev
        self._peers = peers
        self._tell = tell if peers.rank == 0 else ignore
        self._checkpoints = checkpoints
        target = _target(job)
        soft = None if job.distil is None else load_soft_targets(job.distil, job.coordizer_folder)
        self._objective = Objective(
            job.objective,
            decoder,
            basin_target=target,
            soft_targets=None if soft is None else soft.to(self._decoder.embedding.device),
        )
        self._stepper = Stepper(decoder, job.step, peers, self._objective)
        self._guard = Guard(job.kernel, job.guards)
        self._phases = PhaseTracker(job.kernel, job.phases)
        self._probe = _probe(job, dev, target, depth=bool(decoder.config.recurrent_layers))
        self._reporter = Reporter(job, decoder, train.context, self._tell, clock)
        self._index = 0
        self._ahead = 0
        self._dev_nats: float | None = None
        self._probed = Probed()

    def run(self, should_stop: Callable[[], bool]) -> JobResult:
        """Train until the end of the job or a stop."""
        self._begin()
        self._decoder.train()
        stop = False
        while self._index < self._job.step.steps and not stop:
            stop = self._advance(stop=should_stop())
        self._peers.wait()
        best = self._checkpoints.best()
        finished = self._index >= self._job.step.steps
        if finished and best is None:
            raise TrainingError(
                f"kernel {self._job.kernel!r} has no checkpoint with a finite held-out loss; lower "
                "the learning rate or look at the held-out text"
            )
        if finished and best is not None:
            restore(best.path, self._decoder)
        return JobResult(
            finished=finished,
            steps=self._index,
            dev_nats=None if best is None else best.dev_nats,
            best_step=None if best is None else best.step,
            phase_updates=dict(self._phases.updates),
            phase_transitions=self._phases.transitions,
        )

    def _begin(self) -> None:
        """Resume from a checkpoint, or save the start so that a guard can roll back to it."""
        if self._job.probe.gauge and self._probe.reference is None and self._peers.rank == 0:
            self._probe.reference = self._probe.scale_of(self._decoder)
        checkpoint = self._checkpoints.resume(self._decoder, self._stepper.optimiser)
        if checkpoint is not None:
            self._index = checkpoint.step
            self._restore(checkpoint.state)
        elif self._job.guards.enabled and self._peers.rank == 0:
            self._save(None, good=True)

    def _advance(self, *, stop: bool) -> bool:
        """Take one step with its checks and reports; return whether to stop."""
        step, peers = self._job.step, self._peers
        number = self._index + self._ahead
        batch = self._train.batch(number, step.batch_size, rank=peers.rank, world=peers.world)
        factor = self._guard.rate_factor(self._index)
        result = self._stepper.step(
            *batch,
            self._index,
            stop=stop,
            rate_factor=factor,
            num_counted=self._train.place(number, step.batch_size).num_counted,
        )
        self._index += 1
        due = self._index % self._job.checkpoint_every == 0 or self._index == step.steps
        dev_nats, probed = self._observe(due)
        decision = self._decide(result, probed)
        if decision.action == "roll_back":
            self._roll_back(decision)
        elif decision.action == "give_up":
            raise self._given_up(decision)
        elif due:
            good = self._guard.accepts(dev_nats)
            if peers.rank == 0:
                self._save(dev_nats, good=good)
        elif result.stop and peers.rank == 0:
            # Not scored: where a run is stopped must not decide which checkpoint is the best.
            self._save(None, good=False)
        self._report(result, dev_nats)
        return result.stop

    def _decide(self, result: StepResult, probed: Probed | None) -> Decision:
        if probed is not None:
            self._probed = probed
            if probed.phi_gauge is not None:
                change = self._phases.observe(step=self._index, gauge=probed.phi_gauge)
                if change is not None:
                    self._tell(change)
        facts = Facts(
            step=self._index,
            loss_nats=result.loss_nats,
            gradient_norm=result.gradient_norm,
            taken=result.taken,
            probed=probed,
        )
        decision = self._guard.observe(facts)
        for guard_change in decision.changes:
            self._tell(guard_change)
        return decision

    def _observe(self, due: bool) -> tuple[float | None, Probed | None]:
        """Return the held-out loss of a due checkpoint and a due probe, the same to all workers."""
        every = self._job.probe.every_steps
        probes = self._probe.measures and (due if every is None else self._index % every == 0)
        if not due and not probes:
            return None, None
        dev_nats, probed = math.nan, Probed()
        if self._peers.rank == 0:
            if due:
                dev_nats = held_out_nats(
                    self._decoder, self._dev, self._job.dev_windows, self._job.step
                )
            if probes:
                probed = self._probe(self._decoder)
        dev_nats, *numbers = self._shared([dev_nats, *probed.to_numbers()])
        return (
            dev_nats if math.isfinite(dev_nats) else None,
            Probed.from_numbers(numbers) if probes else None,
        )

    def _shared(self, numbers: list[float]) -> list[float]:
        """Return the first worker's numbers on every worker."""
        if self._peers.world == 1:
            return numbers
        mine = numbers if self._peers.rank == 0 else [0.0] * len(numbers)
        device = self._decoder.embedding.device
        tensor = torch.tensor(mine, dtype=torch.float64, device=device)
        self._peers.sum(tensor)
        shared: list[float] = tensor.tolist()
        return shared

    def _save(self, dev_nats: float | None, *, good: bool) -> None:
        self._checkpoints.save(
            self._decoder,
            self._stepper.optimiser,
            step=self._index,
            dev_nats=dev_nats,
            good=good,
            state=self._state(),
        )

    def _roll_back(self, decision: Decision) -> None:
        """Load the last good checkpoint, and continue with batches that were not read yet."""
        self._peers.wait()
        optimiser = self._stepper.optimiser
        checkpoint = self._checkpoints.resume(self._decoder, optimiser, good=True)
        if checkpoint is None:
            raise self._given_up(decision)
        self._peers.wait()  # before that, others may still be reading
        if self._peers.rank == 0:
            self._checkpoints.drop_after(checkpoint.step)
        self._ahead += self._index - checkpoint.step
        self._index = checkpoint.step
        self._objective.restore(checkpoint.state["objective"])
        self._tell(self._guard.rolled_back(checkpoint.step, checkpoint.state["guard"]))

    def _given_up(self, decision: Decision) -> TrainingError:
        good = [checkpoint for checkpoint in self._checkpoints.all() if checkpoint.good]
        seen = ", ".join(f"{name} {value:.4g}" for name, value in decision.numbers.items())
        left = f"the last good checkpoint is {good[-1].path}" if good else "there is no checkpoint"
        return TrainingError(
            f"kernel {self._job.kernel!r} failed at step {self._index}: {decision.cause} ({seen}); "
            f"going back {self._job.guards.tries_max} times did not help and {left}; lower the "
            "learning rate or look at the data"
        )

    def _report(self, result: StepResult, dev_nats: float | None) -> None:
        self._dev_nats = self._dev_nats if dev_nats is None else dev_nats
        if self._peers.rank == 0:
            self._reporter.report(
                Standing(
                    step=self._index,
                    batches=self._index + self._ahead,
                    result=result,
                    dev_nats=self._dev_nats,
                    probed=self._probed,
                    phase=self._phases.phase,
                    guard=self._guard.current,
                )
            )

    def _state(self) -> dict[str, Any]:
        """Return all state besides weights and optimiser that later steps need, as JSON values."""
        reference = self._probe.reference
        return {
            "ahead": self._ahead,
            "guard": self._guard.state(),
            "objective": self._objective.state(),
            "phases": self._phases.state(),
            "reference": None if reference is None else asdict(reference),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._ahead = state["ahead"]
        self._guard.restore(state["guard"])
        self._objective.restore(state["objective"])
        self._phases.restore(state["phases"])
        reference = state["reference"]
        self._probe.reference = None if reference is None else PhiReference(**reference)


def _target(job: Job) -> BasinTarget | None:
    if job.objective.lambda_basin == 0:
        return None
    return basin_target(fixed_basin_K=job.basin_target, coordizer_folder=job.coordizer_folder)


def _probe(job: Job, dev: Batches, target: BasinTarget | None, *, depth: bool) -> Probe:
    if job.probe.phi and dev.context < PHI_POSITIONS:
        raise ConfigError(
            f"Phi needs a context of {PHI_POSITIONS} tokens and this kernel has {dev.context}; "
            "switch its probe off or take a longer context"
        )
    probe = Probe(job.probe, dev, target, depth=depth)
    probe.reference = job.phi_reference
    return probe
