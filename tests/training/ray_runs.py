"""Plans for real Ray Train runs on toy kernels, and ways to disturb them."""

import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import torch

from constellation.kernel.files.checkpoint import load_kernel
from tests.training import tiny
from training.batches import join_documents
from training.loop.job import Job
from training.loop.step import StepConfig
from training.recipe import Mode
from training.recipe_running import WorkersSection
from training.runs.training_plan import SEED, TrainingPlan


def plan(
    out: Path,
    mode: Mode,
    kernels: Sequence[str],
    *,
    steps: int,
    seed_steps: int | None = None,
    checkpoint_every: int = 100,
    batch_size: int = 4,
) -> TrainingPlan:
    """Write token files and return a plan for them; without `seed_steps` there is no seed."""
    (out / "tokens").mkdir(parents=True)
    for number, name in enumerate((SEED, *kernels)):
        for split, seed in (("train", number), ("dev", 100 + number)):
            stream = join_documents([tiny.stream(seed, 900)], end_id=0)
            np.save(out / "tokens" / f"{name}.{split}.npy", stream)

    def job(kernel: str, num_steps: int) -> Job:
        return Job(
            kernel=kernel,
            stage="seed" if kernel == SEED or mode == "synchronized" else "branch",
            step=StepConfig(
                steps=num_steps,
                batch_size=batch_size,
                learning_rate=3e-3,
                precision="float32",
                device="cpu",
            ),
            bytes_per_token=3.0,
            checkpoint_every=checkpoint_every,
        )

    return TrainingPlan(
        out=str(out),
        key="0" * 64,
        mode=mode,
        kernels=tuple(kernels),
        kernel_config=tiny.CONFIG.to_dict(),
        tokenizer_hash="1" * 64,
        seed=0,
        seed_job=None if seed_steps is None else job(SEED, seed_steps),
        branch_jobs=tuple(job(name, steps) for name in kernels),
        threads=1,
    )


def workers(**changes: object) -> WorkersSection:
    return WorkersSection.model_validate({"threads": 1, "memory_limit_gb": 64, **changes})


def kill_a_worker(holding: str = "") -> int:
    """Kill a Ray Train worker that has a file open whose path contains `holding`, by SIGKILL."""
    for process in processes("RayTrainWorker"):
        with suppress(psutil.NoSuchProcess):
            if any(holding in file.path for file in process.open_files()):
                process.send_signal(signal.SIGKILL)
                return process.pid
    raise AssertionError(f"no Ray Train worker holds {holding!r}")


def processes(name: str) -> list[psutil.Process]:
    """Return the processes below this one whose command begins with something like `name`."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # others end by themselves meanwhile
            if name in " ".join(process.cmdline()[:4]):
                found.append(process)
    return found


def assert_same_kernels(one: TrainingPlan, two: TrainingPlan, names: Sequence[str]) -> None:
    """Finished kernels of two runs are the same to the bit."""
    for name in names:
        a, b = load_kernel(one.kernel_folder(name)), load_kernel(two.kernel_folder(name))
        assert a.facts == b.facts
        for p, q in zip(a.decoder.parameters(), b.decoder.parameters(), strict=True):
            assert torch.equal(p, q)
