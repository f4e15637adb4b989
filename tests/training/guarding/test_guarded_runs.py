"""Faults in real runs: caught, rolled back, recovered; and all of it resumes to the same bits."""

import argparse
import contextlib
import inspect
import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import training.loop.step
from constellation.errors import TrainingError
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from tests.training import tiny
from tests.training.guarded import Crash, changes_of, run, same
from tests.training.peers import run_together
from training.batches import Windows
from training.loop.checkpoints import CheckpointFolder
from training.loop.step import Alone, Peers, StepConfig
from training.loop.train_loop import Job, JobResult, run_job
from training.progress.events import Event, KernelProgress

TEXT = np.frombuffer(inspect.getsource(argparse).encode("ascii", "replace"), dtype=np.uint8)
"""Real text: the source of a module, a token for each byte."""
SHAPE = KernelConfig(vocab_size=128, width=32, num_layers=1, num_heads=2, mlp_width=64, context=32)


# --- the learning rate times 100 at step 300 -----------------------------------------------------

FAULT_AT = 300


def learn(folder: Path, seed: int, events: list[Event], *, stop_at: int | None = None) -> JobResult:
    """Train for 420 steps from where the folder says."""
    tokens = TEXT.astype(np.int32)
    cut = int(0.9 * len(tokens))
    job = Job(
        kernel="k",
        stage="branch",
        step=StepConfig(
            steps=420, batch_size=8, learning_rate=3e-3, warmup_steps=20, precision="float32"
        ),
        bytes_per_token=1.0,
        dev_windows=32,
    )
    train, dev = (Windows.of(part, context=32, seed=seed) for part in (tokens[:cut], tokens[cut:]))
    asked = iter(range(1, 10_000))
    return run_job(
        job,
        Decoder(SHAPE, seed=seed),
        train,
        dev,
        folder,
        on_progress=events.append,
        should_stop=lambda: next(asked) == stop_at,
    )


@pytest.fixture(scope="module")
def until_the_fault(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Both runs of a seed share their first 300 steps: resuming is bit-exact."""

    @lru_cache
    def run(seed: int) -> Path:
        folder = tmp_path_factory.mktemp("shared")
        events: list[Event] = []
        assert learn(folder, seed, events, stop_at=FAULT_AT).steps == FAULT_AT
        assert changes_of(events) == []
        return folder

    return run


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_learning_rate_a_hundred_times_too_high_is_caught_rolled_back_and_recovered(
    seed: int,
    until_the_fault: Callable[[int], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("undisturbed", "disturbed"):
        shutil.copytree(until_the_fault(seed), tmp_path / name)
    quiet: list[Event] = []
    undisturbed = learn(tmp_path / "undisturbed", seed, quiet)
    assert changes_of(quiet) == []

    plain = training.loop.step.learning_rate
    events: list[Event] = []

    def wrong(config: StepConfig, step: int) -> float:
        """From step 300 on, until the run goes back."""
        gone_back = any(change.after == "RECOVERING" for change in changes_of(events))
        return plain(config, step) * (1 if gone_back else 100)

    monkeypatch.setattr(training.loop.step, "learning_rate", wrong)
    result = learn(tmp_path / "disturbed", seed, events)
    paused, back, healthy = changes_of(events)[-3:]
    assert [change.after for change in (paused, back, healthy)] == [
        "PAUSED",
        "RECOVERING",
        "HEALTHY",
    ]
    assert FAULT_AT < paused.step <= FAULT_AT + 20
    assert "the loss" in paused.cause
    assert back.numbers["to_step"] == FAULT_AT
    assert result.finished
    assert result.dev_nats is not None
    assert undisturbed.dev_nats is not None
    assert result.dev_nats / undisturbed.dev_nats == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_a_checkpoint_right_after_the_fault_is_not_gone_back_to(
    until_the_fault: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch of step 350 is scored before its update: only the held-out loss sees it."""
    plain = training.loop.step.learning_rate
    events: list[Event] = []

    def wrong(config: StepConfig, step: int) -> float:
        return plain(config, step) * (300 if step == 349 and not changes_of(events) else 1)

    monkeypatch.setattr(training.loop.step, "learning_rate", wrong)
    shutil.copytree(until_the_fault(0), tmp_path / "run")
    learn(tmp_path / "run", 0, events)
    back = [change for change in changes_of(events) if change.after == "RECOVERING"]
    assert [change.numbers["to_step"] for change in back] == [FAULT_AT]


# --- batches that are no numbers -----------------------------------------------------------------


class Poisoned(Decoder):
    """Answers some batches with NaN, known by their first row: a fault of the data."""

    bad: set[bytes]
    seen: list[bytes]

    def loss(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        loss = super().loss(tokens_BT, targets_BT)
        if not torch.is_grad_enabled():
            return loss
        row = tokens_BT[0].numpy().tobytes()
        self.seen.append(row)
        return loss * (float("nan") if row in self.bad else 1.0)


def poisoned(*batches: int) -> Poisoned:
    kernel = Poisoned(tiny.CONFIG, seed=0)
    kernel.bad = {tiny.windows().batch(i, 4)[0][0].numpy().tobytes() for i in batches}
    kernel.seen = []
    return kernel


def test_a_bad_batch_is_passed_over_and_training_goes_on(tmp_path: Path) -> None:
    events: list[Event] = []
    kernel = poisoned(12)
    result = run(tmp_path, kernel, events=events)
    assert result.finished
    assert [change.after for change in changes_of(events)] == ["WARN", "HEALTHY"]
    assert changes_of(events)[0].cause == "not finite: loss and gradient_norm"
    assert all(torch.isfinite(parameter).all() for parameter in kernel.parameters())


def test_a_step_that_is_passed_over_moves_nothing() -> None:
    kernel = poisoned(0)
    stepper = training.loop.step.Stepper(kernel, tiny.job().step, Alone())
    before = {name: value.clone() for name, value in kernel.state_dict().items()}
    result = stepper.step(*tiny.windows().batch(0, 4), 0, stop=False)
    assert not result.taken
    assert all(torch.equal(before[name], value) for name, value in kernel.state_dict().items())
    assert not stepper.optimiser.state
    assert stepper.step(*tiny.windows().batch(1, 4), 1, stop=False).taken


def test_a_run_of_bad_batches_goes_back_and_does_not_read_them_again(tmp_path: Path) -> None:
    events: list[Event] = []
    kernel = poisoned(12, 13, 14)
    result = run(tmp_path, kernel, events=events)
    assert [change.after for change in changes_of(events)] == [
        "WARN",
        "PAUSED",
        "RECOVERING",
    ], "40 steps are too few to end a recovery of 50"
    assert changes_of(events)[-1].numbers["to_step"] == 10
    assert result.steps == 40
    assert len(kernel.seen) == 45
    assert all(kernel.seen.count(row) == 1 for row in kernel.bad)
    last = [event for event in events if isinstance(event, KernelProgress)][-1]
    assert (last.step, last.tokens, last.guard) == (40, 45 * 4 * 16, "RECOVERING")


def test_bad_batches_without_end_fail_with_cause_numbers_and_the_last_good_checkpoint(
    tmp_path: Path,
) -> None:
    with pytest.raises(TrainingError, match=r"'k' failed at step 13: not finite.*in_a_row 3") as e:
        run(tmp_path, poisoned(*range(12, 60)))
    good = tmp_path / "step-00000010.safetensors"
    assert str(good) in str(e.value)
    assert [c.path for c in CheckpointFolder(tmp_path).all() if c.good][-1] == good


def test_a_fault_before_the_first_checkpoint_goes_back_to_the_start(tmp_path: Path) -> None:
    events: list[Event] = []
    assert run(tmp_path, poisoned(0, 1, 2), events=events).finished
    assert changes_of(events)[-1].numbers["to_step"] == 0


@pytest.fixture(scope="module")
def never_interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Decoder, Path]:
    kernel, folder = poisoned(12, 13, 14), tmp_path_factory.mktemp("straight")
    run(folder, kernel)
    return kernel, folder


@pytest.mark.slow
@pytest.mark.parametrize(("crash_at", "stop_at"), [(11, None), (14, None), (19, None), (None, 13)])
def test_a_run_that_went_back_resumes_to_the_same_bits(
    crash_at: int | None,
    stop_at: int | None,
    never_interrupted: tuple[Decoder, Path],
    tmp_path: Path,
) -> None:
    """Killed before, right after and well after it went back; or stopped in the middle."""
    straight, folder = never_interrupted
    first = poisoned(12, 13, 14)
    with contextlib.suppress(Crash):
        run(tmp_path / "resumed", first, crash_at=crash_at, stop_at=stop_at)
    resumed = poisoned(12, 13, 14)
    run(tmp_path / "resumed", resumed)
    assert same(straight, resumed)
    ends = [CheckpointFolder(path).all()[-1] for path in (folder, tmp_path / "resumed")]
    assert ends[0].state == ends[1].state


@pytest.mark.parametrize("world", [2])
def test_workers_that_train_together_go_back_together(world: int, tmp_path: Path) -> None:
    def work(peers: Peers) -> tuple[Decoder, JobResult]:
        kernel = poisoned(12, 13, 14)  # the first row of a batch is the first worker's
        result = run_job(
            tiny.job(steps=40, checkpoint_every=5),
            kernel,
            tiny.windows(),
            tiny.dev_windows(),
            tmp_path,
            peers=peers,
        )
        return kernel, result

    (one, first), (two, second) = run_together(world, work)
    assert same(one, two)
    assert first == second
    assert first.finished
