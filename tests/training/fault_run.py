"""Train a kernel whose disk fails on the way, mend the disk, and train it to the end.

Usage: python -m tests.training.fault_run FOLDER FAULT...

Prints one line of JSON per fault. The faults `full` and `read-only` need the right to mount; run it
in a mount namespace of its own (`unshare --map-root-user --mount`) for that.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from constellation.errors import TrainingError
from constellation.kernel.files.checkpoint import load_kernel
from tests.training import ray_runs
from training.loop.checkpoints import CheckpointFolder
from training.loop.step import Alone
from training.runs.training_plan import TrainingPlan
from training.runs.worker import train_kernel

STEPS = 40
FAULT_AFTER = 15
"""Steps; with a checkpoint every 10, the one at 20 cannot be written."""


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 512)
        except OSError:
            return


def replace_by_a_file(folder: Path) -> None:
    folder.rename(folder.with_name("aside"))
    folder.write_text("in its place")


def put_back(folder: Path) -> None:
    folder.unlink()
    folder.with_name("aside").rename(folder)


def limit_files(num_bytes: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))


Action = Callable[[Path], None]
FAULTS: dict[str, tuple[Action, Action, Action]] = {
    # Fault -> what prepares the checkpoint folder, what breaks it, what mends it.
    "full": (
        lambda folder: mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)),
        fill,
        lambda folder: (folder / "filler").unlink(),
    ),
    "read-only": (
        lambda folder: mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)),
        lambda folder: mount("-o", "remount,ro", str(folder)),
        lambda folder: mount("-o", "remount,rw", str(folder)),
    ),
    "file-size": (
        lambda folder: None,
        lambda folder: limit_files(4096),
        lambda folder: limit_files(resource.getrlimit(resource.RLIMIT_FSIZE)[1]),
    ),
    "no-folder": (lambda folder: None, replace_by_a_file, put_back),
}


def plan(out: Path) -> TrainingPlan:
    return ray_runs.plan(out, "per-actor", ("a",), steps=STEPS, checkpoint_every=10)


def fail_and_mend(out: Path, fault: str) -> dict[str, object]:
    prepare, break_it, mend = FAULTS[fault]
    run = plan(out)
    folder = run.checkpoints / "a"
    folder.mkdir(parents=True)
    prepare(folder)
    asked = iter(range(STEPS + 1))

    def breaking() -> bool:
        if next(asked) == FAULT_AFTER:
            break_it(folder)
        return False

    try:
        train_kernel(run, "a", Alone(), should_stop=breaking)
        message = "nothing failed"
    except TrainingError as error:
        message = str(error)
    mend(folder)
    left = [checkpoint.step for checkpoint in CheckpointFolder(folder).all()]
    parts = [path.name for path in folder.glob(".*.part")]
    finished = train_kernel(run, "a", Alone())
    weights = load_kernel(run.kernel_folder("a")).weights_hash
    return {
        "fault": fault,
        "message": message,
        "left": left,
        "parts": parts,
        "finished": finished,
        "weights": weights,
    }


def main() -> None:
    torch.set_num_threads(1)
    for fault in sys.argv[2:]:
        outcome = fail_and_mend(Path(sys.argv[1]) / fault, fault)
        sys.stdout.write(json.dumps(outcome) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
