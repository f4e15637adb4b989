"""What Ray costs: eight per-actor trainings beside eight plain processes that do the same.

    python -m benchmarks.ray_overhead --json

Both sides train the same kernels, from the same token files, to the same bits, with one thread
each, so many at a time as `--at-once` says (one per core), started by the same driver; one side's
driver has lanes of Ray Train, the other's launches plain processes. The order alternates from round
to round.

`ratio` is Ray's tokens per second over those of plain processes, the time taken from the first
step of the first kernel to the last step of the last; `ratio_with_startup` takes it from the launch
to the end, the start of Ray and of all processes included. Both are medians over the rounds of the
ratio within a round.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cluster.bootstrap import local_ray
from constellation.errors import TrainingError
from constellation.kernel.files.checkpoint import load_kernel
from constellation.kernel.network.config import KernelConfig
from training.loop.job import Job
from training.loop.step import Alone, StepConfig
from training.progress.events import Event, KernelProgress, OnEvent
from training.recipe_running import WorkersSection
from training.runs.driver import drive
from training.runs.event_files import event_writer
from training.runs.schedule import Room
from training.runs.training_plan import TrainingPlan
from training.runs.worker import train_kernel
from training.runs.worker_memory import demand

KERNELS = tuple(f"kernel-{number}" for number in range(8))
SHAPE = KernelConfig(
    vocab_size=2048, width=128, num_layers=3, num_heads=4, mlp_width=320, context=128
)
BATCH_SIZE = 4
STREAM_TOKENS = 60_000
MEMORY_BYTES = 10**13


@dataclass(frozen=True, slots=True)
class Measured:
    """One side in one round."""

    tokens_per_second: float
    """From the first step to the last."""
    tokens_per_second_launched: float
    """From the launch to the end."""
    window_s: float
    launched_s: float
    starting_s: float
    """From the first step of the first kernel to the first step of the last: until then some still
    start while others train."""


def main() -> None:
    arguments = _arguments()
    if arguments.plan is not None:
        _train_plain(arguments.plan, arguments.kernel)
        return
    at_once = arguments.at_once
    steps = arguments.steps or _steps_for(arguments.seconds, at_once)
    rounds: list[dict[str, Measured]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            rounds.append(_round(Path(folder) / str(number), number, steps, at_once))
            _say(f"round {number + 1}: {rounds[-1]}")
    report = _report(rounds, steps, at_once)
    _say(f"ratio {report['ratio']:.3f}, with start-up {report['ratio_with_startup']:.3f}")
    sys.stdout.write(json.dumps(report) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=90.0, help="length of a side, about")
    parser.add_argument("--steps", type=int, help="steps per kernel, in place of --seconds")
    parser.add_argument("--at-once", type=int, default=os.cpu_count(), help="trainings at one time")
    parser.add_argument("--json", action="store_true", help="accepted for uniformity")
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kernel", help=argparse.SUPPRESS)
    return parser.parse_args()


def _round(folder: Path, number: int, steps: int, at_once: int) -> dict[str, Measured]:
    """Measure both sides, Ray first in even rounds, and check that they made the same kernels."""
    sides: list[tuple[str, Callable[[TrainingPlan, int], Measured]]] = [
        ("ray", _with_ray),
        ("plain", _with_plain_processes),
    ]
    plans = {name: plan_of(folder / name, steps) for name, _ in sides}
    measured = {}
    for name, measure in sides if number % 2 == 0 else reversed(sides):
        measured[name] = measure(plans[name], at_once)
    for kernel in KERNELS:
        one, two = (load_kernel(plan.kernel_folder(kernel)) for plan in plans.values())
        assert one.weights_hash == two.weights_hash, "both sides must do the same work"
    return measured


def plan_of(out: Path, steps: int) -> TrainingPlan:
    """Write token files of streams that repeat themselves, and return the plan for them."""
    (out / "tokens").mkdir(parents=True)
    jobs = []
    for number, kernel in enumerate(KERNELS):
        draw = np.random.default_rng(number)
        stream = np.cumsum(draw.integers(1, 9, size=STREAM_TOKENS)) % SHAPE.vocab_size
        for split, tokens in (("train", stream), ("dev", stream[: STREAM_TOKENS // 10])):
            np.save(out / "tokens" / f"{kernel}.{split}.npy", tokens.astype(np.int32))
        step = StepConfig(
            steps=steps,
            batch_size=BATCH_SIZE,
            learning_rate=1e-3,
            precision="float32",
            device="cpu",
        )
        jobs.append(Job(kernel=kernel, stage="branch", step=step, bytes_per_token=1.0))
    return TrainingPlan(
        out=str(out),
        key="0" * 64,
        mode="per-actor",
        kernels=KERNELS,
        kernel_config=SHAPE.to_dict(),
        tokenizer_hash="1" * 64,
        seed=0,
        branch_jobs=tuple(jobs),
        threads=1,
    )


class Stopwatch:
    """Notes when the first and the last step of all kernels were told."""

    def __init__(self) -> None:
        self.launched_s = time.perf_counter()
        self.first_s: dict[str, float] = {}
        self.last_s = self.launched_s

    def __call__(self, event: Event) -> None:
        if isinstance(event, KernelProgress):
            self.last_s = time.perf_counter()
            self.first_s.setdefault(event.kernel, self.last_s)

    def measured(self, plan: TrainingPlan) -> Measured:
        ended_s = time.perf_counter()
        tokens = sum(job.step.steps * job.step.batch_size for job in plan.branch_jobs)
        tokens *= SHAPE.context
        first_s = min(self.first_s.values())
        window_s, launched_s = self.last_s - first_s, ended_s - self.launched_s
        return Measured(
            tokens_per_second=tokens / window_s,
            tokens_per_second_launched=tokens / launched_s,
            window_s=window_s,
            launched_s=launched_s,
            starting_s=max(self.first_s.values()) - first_s,
        )


def _with_ray(plan: TrainingPlan, at_once: int) -> Measured:
    watch = Stopwatch()
    with local_ray(num_cpus=at_once, dashboard=True):
        from training.runs.ray_trainer import train_with_ray

        workers = WorkersSection(num_workers=at_once, threads=1, memory_limit_gb=MEMORY_BYTES / 1e9)
        train_with_ray(plan, workers, watch, own_ray=True)
        return watch.measured(plan)


def _with_plain_processes(plan: TrainingPlan, at_once: int) -> Measured:
    watch = Stopwatch()
    path = Path(plan.out) / "plan.json"
    path.write_text(json.dumps(plan.to_dict()), encoding="utf-8")

    def launch(kernel: str) -> None:
        command = [sys.executable, "-m", "benchmarks.ray_overhead", "--plan", str(path)]
        done = subprocess.run([*command, "--kernel", kernel], check=False)
        if done.returncode != 0:
            raise TrainingError(f"the plain process of {kernel} ended with {done.returncode}")

    room = Room(workers=at_once, memory_bytes=MEMORY_BYTES, max_failures=0)
    drive(plan, [demand(plan, kernel, 1) for kernel in KERNELS], room, launch, watch)
    return watch.measured(plan)


def _train_plain(path: Path, kernel: str) -> None:
    """Train one kernel in this process, as a Ray worker would."""
    torch.set_num_threads(1)
    plan = TrainingPlan.from_dict(json.loads(path.read_text(encoding="utf-8")))
    with event_writer(plan.checkpoints, f"{kernel}-0") as tell:
        train_kernel(plan, kernel, Alone(), on_progress=tell, should_stop=plan.stop_file.exists)


def _steps_for(seconds: float, at_once: int) -> int:
    """Return the steps per kernel that take about so long, by a trial in this process."""
    torch.set_num_threads(1)
    trial = 40
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(Path(folder) / "trial", trial)
        plan.checkpoints.mkdir(parents=True)
        times: list[float] = []
        tell: OnEvent = lambda _: times.append(time.perf_counter())  # noqa: E731
        train_kernel(plan, KERNELS[0], Alone(), on_progress=tell)
    per_step = (times[-1] - times[0]) / (trial - 1)
    busy = min(at_once, os.cpu_count() or 1)
    return max(trial, round(seconds * busy / len(KERNELS) / per_step))


def _report(rounds: Sequence[dict[str, Measured]], steps: int, at_once: int) -> dict[str, Any]:
    def ratios(figure: str) -> list[float]:
        return [getattr(r["ray"], figure) / getattr(r["plain"], figure) for r in rounds]

    window, launched = ratios("tokens_per_second"), ratios("tokens_per_second_launched")
    return {
        "ratio": statistics.median(window),
        "ratio_min": min(window),
        "ratio_max": max(window),
        "ratio_with_startup": statistics.median(launched),
        "ratio_with_startup_min": min(launched),
        "ratio_with_startup_max": max(launched),
        "rounds": [
            {
                side: {
                    "tokens_per_second": values.tokens_per_second,
                    "tokens_per_second_with_startup": values.tokens_per_second_launched,
                    "window_s": values.window_s,
                    "launched_s": values.launched_s,
                    "starting_s": values.starting_s,
                }
                for side, values in measured.items()
            }
            for measured in rounds
        ],
        "kernels": len(KERNELS),
        "at_once": at_once,
        "steps": steps,
        "num_parameters": SHAPE.num_parameters(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
    }


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
