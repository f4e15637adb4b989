"""Train one kernel under a Ray whose head is killed on the way; once more to go on.

Usage: python -m tests.training.head_run FOLDER kill|go-on

Prints one line of JSON: the error that ended the run, if one did, and the steps that were told.
"""

import json
import signal
import sys
from pathlib import Path

import psutil

from cluster.bootstrap import local_ray
from constellation.errors import TrainingError
from tests.training import ray_runs
from training.events import Event, KernelProgress
from training.training_plan import TrainingPlan

STEPS = 400


def plan(folder: Path) -> TrainingPlan:
    if not folder.exists():
        return ray_runs.plan(folder, "per-actor", ("a",), steps=STEPS, checkpoint_every=20)
    written = json.loads((folder / "plan.json").read_text())
    return TrainingPlan.from_dict(written)


def kill_head() -> None:
    for process in psutil.Process().children(recursive=True):
        if "gcs_server" in process.name():
            process.send_signal(signal.SIGKILL)
            return
    raise AssertionError("no head runs")


def main() -> None:
    folder, kills = Path(sys.argv[1]), sys.argv[2] == "kill"
    run = plan(folder)
    (folder / "plan.json").write_text(json.dumps(run.to_dict()))
    steps: list[int] = []
    killed_at: list[int] = []

    def on_event(event: Event) -> None:
        if isinstance(event, KernelProgress):
            steps.append(event.step)
            if kills and not killed_at and event.dev_bits_per_byte is not None:
                killed_at.append(event.step)
                kill_head()

    outcome = ""
    with local_ray(num_cpus=2, dashboard=True):
        from training.ray_trainer import train_with_ray

        try:
            train_with_ray(run, ray_runs.workers(), on_event)
        except TrainingError as error:
            outcome = str(error)
    sys.stdout.write(json.dumps({"error": outcome, "steps": steps}) + "\n")


if __name__ == "__main__":
    main()
