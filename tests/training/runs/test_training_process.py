"""Killed heads, killed drivers and Ctrl-C end a run in words; the same command goes on."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cluster.training_process import train_in_process
from constellation.errors import TrainingError
from tests.training import ray_runs
from training.loop.checkpoints import CheckpointFolder
from training.loop.step import Alone
from training.progress.events import Event, KernelProgress
from training.runs.training_plan import TrainingPlan
from training.runs.worker import train_kernel

pytestmark = pytest.mark.ray

STEPS = 2000
MISSED = """
import sys
if "cluster.training_process" in sys.orig_argv:
    from cluster import bootstrap
    bootstrap._LOOPBACK_ONLY["RAY_gcs_rpc_server_reconnect_timeout_s"] = "5"
"""
"""What the process that drives Ray runs first: Ray's head counts as lost after 5 s, not 60 s."""


def plan(folder: Path) -> TrainingPlan:
    return ray_runs.plan(folder, "per-actor", ("a",), steps=STEPS, checkpoint_every=20)


def kill(name: str) -> None:
    """Kill the one process below this one whose command holds `name`."""
    (process,) = ray_runs.processes(name)
    process.send_signal(signal.SIGKILL)


class Disturbed:
    """Hears a run's events, and disturbs it once when it has a new checkpoint."""

    def __init__(self, disturb: Callable[[], None] | None = None) -> None:
        self.steps: list[int] = []
        self._disturb = disturb

    def __call__(self, event: Event) -> None:
        if not isinstance(event, KernelProgress):
            return
        self.steps.append(event.step)
        if self._disturb is not None and event.dev_bits_per_byte is not None:
            self._disturb()
            self._disturb = None


def reached(run: TrainingPlan) -> int:
    return CheckpointFolder(run.checkpoints / "a").all()[-1].step


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_deaths_and_ctrl_c_end_a_run_in_words_and_it_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, workers = plan(tmp_path / "run"), ray_runs.workers(max_failures=0)
    (tmp_path / "sitecustomize.py").write_text(MISSED, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(TrainingError, match=r"drives Ray died \(SIGKILL\).*run the same command"):
        train_in_process(run, workers, Disturbed(lambda: kill("cluster.training_process")))
    left = [process.name() for process in psutil.Process().children(recursive=True)]
    assert left == [], "Ray dies with the process that drives it"
    after_death = reached(run)
    assert 0 < after_death < STEPS

    second = Disturbed(interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_in_process(run, workers, second)
    assert min(second.steps) > after_death, "it must resume, not start over"
    after_stop = reached(run)
    assert after_death < after_stop < STEPS

    # Ray tells of a dead head in several ways, and the run may even end before it is missed.
    third = Disturbed(lambda: kill("gcs_server"))
    with pytest.raises(TrainingError, match="run the same command to resume"):
        train_in_process(run, workers, third)
    assert min(third.steps) > after_stop

    train_in_process(run, workers, Disturbed())
    straight = plan(tmp_path / "straight")
    assert train_kernel(straight, "a", Alone())
    ray_runs.assert_same_kernels(run, straight, ("a",))
