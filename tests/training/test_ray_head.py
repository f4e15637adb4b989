"""A Ray whose head dies ends the run with a typed error; the same command goes on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from constellation.kernel.checkpoint import load_kernel
from tests.training import ray_runs
from tests.training.head_run import STEPS
from training.branch import train_kernel
from training.checkpoints import CheckpointFolder
from training.step import Alone
from training.training_plan import TrainingPlan

pytestmark = pytest.mark.ray

LIMIT_S = 300.0
"""A run that waits for a dead head for ever fails this test."""


def run(folder: Path, what: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.head_run", str(folder), what],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_dead_head_is_a_training_error_and_the_same_command_goes_on(tmp_path: Path) -> None:
    ended = run(tmp_path / "run", "kill")
    assert "Ray's head at 127.0.0.1:" in ended["error"]
    assert "run the same command to go on" in ended["error"]
    plan = TrainingPlan.from_dict(json.loads((tmp_path / "run" / "plan.json").read_text()))
    kept = CheckpointFolder(plan.checkpoints / "a").all()[-1].step
    assert 0 < kept <= STEPS
    again = run(tmp_path / "run", "go-on")
    assert again["error"] == ""
    assert min(again["steps"], default=STEPS) > 1, "it must resume, not start over"

    straight = ray_runs.plan(
        tmp_path / "straight", "per-actor", ("a",), steps=STEPS, checkpoint_every=20
    )
    assert train_kernel(straight, "a", Alone())
    assert load_kernel(plan.kernel_folder("a")).weights_hash == (
        load_kernel(straight.kernel_folder("a")).weights_hash
    )
