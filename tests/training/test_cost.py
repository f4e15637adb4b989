"""The cost formulas by hand, and against real runs in processes of their own."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from constellation.errors import ConfigError
from constellation.kernel.network.config import PRESETS, KernelConfig
from tests.training import tiny
from training.cost import (
    StepSpeed,
    job_flops,
    job_tokens,
    measure_speed,
    predicted_seconds,
    step_flops,
)
from training.loop.job import Job
from training.loop.step import StepConfig
from training.recipe import Precision

PROGRAM = Path(__file__).parent / "measured_run.py"
TIMEOUT_S = 500

SPARK = PRESETS["spark"]
SHAPES: dict[str, tuple[KernelConfig, int, Precision]] = {
    "spark": (SPARK, 4, "auto"),
    "wide": (
        replace(SPARK, vocab_size=2000, width=256, num_layers=6, mlp_width=640, context=128),
        8,
        "float32",
    ),
    "recursive": (
        replace(SPARK, vocab_size=1000, num_layers=3, recurrent_layers=(2,), context=128),
        12,
        "float32",
    ),
}


def job(steps: int = 10) -> Job:
    return Job(
        kernel="k",
        stage="branch",
        step=StepConfig(steps=steps, batch_size=4, learning_rate=1e-3),
        bytes_per_token=3.0,
        checkpoint_every=4,
        dev_windows=2,
    )


def test_costs_by_hand() -> None:
    config = tiny.CONFIG
    step = step_flops(config, 4)
    assert step == 3 * config.flops_per_token(8) * 4 * 16
    assert job_tokens(job(), config) == 10 * 4 * 16
    # Checkpoints after steps 4, 8 and 10, two windows each, forward only.
    assert job_flops(job(), config) == 10 * step + 3 * 2 * config.flops_per_token(8) * 16
    speed = StepSpeed(flops_per_second=1e6, seconds_per_parameter=1e-6)
    moving = 10 * config.num_parameters() * 1e-6
    expected = job_flops(job(), config) / 1e6 + moving
    assert predicted_seconds(job(), config, speed) == pytest.approx(expected)


def test_twice_the_steps_cost_twice_as_much() -> None:
    config, speed = tiny.CONFIG, StepSpeed(flops_per_second=1e9, seconds_per_parameter=1e-9)
    once, twice = (predicted_seconds(job(steps), config, speed) for steps in (8, 16))
    assert twice == pytest.approx(2 * once)


def ticking(seconds: float) -> Callable[[], float]:
    """Return a clock that moves on at every look."""
    now_s = 0.0

    def look() -> float:
        nonlocal now_s
        now_s += seconds
        return now_s

    return look


def test_speed_is_work_over_time() -> None:
    """Every step and every move of the parameters takes a second by this clock."""
    speed = measure_speed(tiny.CONFIG, batch_size=2, clock=ticking(1.0))
    moved = tiny.CONFIG.num_parameters() * speed.seconds_per_parameter
    assert speed.seconds_per_parameter == pytest.approx(1 / 4_000_000)
    assert speed.flops_per_second == pytest.approx(step_flops(tiny.CONFIG, 2) / (1 - moved))


def test_the_budget_bounds_what_is_measured() -> None:
    config = replace(tiny.CONFIG, context=1024)
    least = replace(config, context=256)
    speed = measure_speed(config, batch_size=64, budget_flops=1.0, clock=ticking(1.0))
    assert speed.flops_per_second == pytest.approx(step_flops(least, 1), rel=0.05)
    with pytest.raises(ConfigError, match="flops_per_second"):
        StepSpeed(flops_per_second=0, seconds_per_parameter=0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's peak memory from /proc")
@pytest.mark.parametrize("name", SHAPES)
def test_predictions_hold_on_real_runs(name: str) -> None:
    """Peak memory within 15 %, processor time within 25 %: the bars of `plan --train`."""
    config, batch_size, precision = SHAPES[name]
    asked = {"config": config.to_dict(), "batch_size": batch_size, "precision": precision}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), json.dumps(asked)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        cwd=PROGRAM.parents[2],
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["predicted_peak"] == pytest.approx(found["peak"], rel=0.15), found
    assert found["time_ratio"] == pytest.approx(1, abs=0.25), found
    # The process itself must not be most of what is compared.
    assert found["peak"] > 1.3 * found["process"]
