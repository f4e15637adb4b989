"""Runs with every term, probe and guard on: resumed to the same bits, reported, undisturbed."""

from dataclasses import replace
from pathlib import Path

import pytest

from constellation.errors import ConfigError
from constellation.kernel.network.decoder import Decoder
from tests.training import tiny
from tests.training.guarded import Crash, run, same
from tests.training.loop.test_resume import equal, last_tensors
from training.batches import Windows
from training.guards.guard import GuardConfig
from training.guards.probe import ProbeConfig
from training.loop.checkpoints import CheckpointFolder
from training.loop.objective import ObjectiveConfig
from training.loop.step import StepConfig
from training.loop.train_loop import Job, run_job
from training.progress.events import Event, KernelProgress, PhaseChanged

LONG = replace(tiny.CONFIG, context=256, basin_outcomes=4)


def everything(kind: str) -> Job:
    return replace(
        tiny.job(steps=10, checkpoint_every=4),
        step=StepConfig(
            steps=10,
            batch_size=2,
            learning_rate=1e-6 if kind == "diagonal_fisher" else 1e-3,
            kind=kind,  # type: ignore[arg-type]
            accumulation_steps=2,
        ),
        objective=ObjectiveConfig(
            lambda_basin=1.0,
            lambda_phi=0.1,
            lambda_kappa=0.1,
            lambda_beta=0.1,
            lambda_entropy=0.1,
            lambda_step=1.0,
            step_cap_radians=0.0,
        ),
        guards=GuardConfig(least=3, output=True, phi=True, patience=2),
        probe=ProbeConfig(every_steps=3, windows=2, output=True, phi=True, gauge=True),
        basin_target=(0.4, 0.3, 0.2, 0.1),
    )


def run_everything(folder: Path, job: Job, *, crash_at: int | None = None) -> list[Event]:
    events: list[Event] = []
    asked = iter(range(100))

    def should_stop() -> bool:
        if next(asked) == crash_at:
            raise Crash
        return False

    windows = [Windows.of(tiny.stream(seed, 4000), context=256, seed=seed) for seed in (0, 1)]
    run_job(
        tiny.through_json(job),
        Decoder(LONG, seed=0),
        *windows,
        folder,
        on_progress=events.append,
        should_stop=should_stop,
    )
    return events


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adamw", "muon", "diagonal_fisher"])
def test_every_optimiser_resumes_to_the_same_bits_with_everything_on(
    kind: str, tmp_path: Path
) -> None:
    job = everything(kind)
    run_everything(tmp_path / "a", job)
    with pytest.raises(Crash):
        run_everything(tmp_path / "b", job, crash_at=7)
    run_everything(tmp_path / "b", job)
    assert equal(last_tensors(tmp_path / "a"), last_tensors(tmp_path / "b"))
    ends = [CheckpointFolder(tmp_path / name).all()[-1] for name in "ab"]
    assert ends[0].state == ends[1].state


def test_progress_carries_what_was_measured(tmp_path: Path) -> None:
    events = run_everything(tmp_path, everything("adamw"))
    last = [event for event in events if isinstance(event, KernelProgress)][-1]
    assert set(last.terms) == {"basin", "phi", "kappa", "beta", "entropy", "basin_step"}
    assert last.phi is not None
    assert 0 <= last.phi < 1
    assert last.phi_gauge is not None
    assert 0 <= last.phi_gauge <= 1
    assert last.basin_distance is not None
    assert 0 <= last.basin_distance <= 3.2
    assert last.kappa == pytest.approx(10, rel=0.2)
    assert last.phase is not None
    assert last.memory_bytes > 10_000_000
    assert last.tokens == 10 * 2 * 256
    assert 0 < last.learning_rate <= 1e-3
    phases = [event for event in events if isinstance(event, PhaseChanged)]
    assert phases[0].before is None


def test_probing_changes_no_bit(tmp_path: Path) -> None:
    kernels = []
    for name, probe in (("a", ProbeConfig()), ("b", ProbeConfig(every_steps=3, output=True))):
        kernels.append(tiny.decoder())
        run(tmp_path / name, kernels[-1], probe=probe)
    assert same(*kernels)


def test_guards_change_no_bit_of_an_undisturbed_run(tmp_path: Path) -> None:
    kernels = []
    for enabled in (True, False):
        kernels.append(tiny.decoder())
        run(tmp_path / str(enabled), kernels[-1], guards=GuardConfig(enabled=enabled))
    assert same(*kernels)


def test_what_a_guard_watches_must_be_probed() -> None:
    with pytest.raises(ConfigError, match="gauge"):
        replace(tiny.job(), guards=GuardConfig(phi=True))
    with pytest.raises(ConfigError, match="probe"):
        replace(tiny.job(), guards=GuardConfig(output=True))


def test_phi_of_a_short_context_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="256"):
        run(tmp_path, tiny.decoder(), probe=ProbeConfig(phi=True))
