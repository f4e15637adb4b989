"""Train kernels with the project's own loop, two processes side by side, one thread each.

A finished kernel whose task has not changed is not trained again, so a run that was stopped, or a
table that shares models with another, goes on where it is.
"""

import json
import multiprocessing
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.claim.plan import CORES
from constellation.errors import ArtifactError
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from training.batches import Windows
from training.guards.guard import GuardConfig
from training.ledger import file_sha256, hash_of
from training.loop.job import Job
from training.loop.step import StepConfig
from training.loop.train_loop import run_job

Say = Callable[[str], None]
"""Hears what is done."""

CHECKPOINTS = 10
"""Times that held-out text chooses the best weights of a training."""

DEV_WINDOWS = 48
"""Held-out windows that choose."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainTask:
    """The training of one model."""

    folder: Path
    """Where the finished kernel goes."""
    start: Path | None
    """Kernel to start from; None starts from random weights."""
    config: KernelConfig
    step: StepConfig
    train: Path
    """Stream of training tokens."""
    dev: Path
    """Stream that chooses the best weights."""
    seed: int
    """Of weights and data order."""

    def key(self) -> str:
        """Return the sha256 of everything that decides the weights."""
        return hash_of(
            {
                "config": self.config.to_dict(),
                "step": asdict(self.step),
                "seed": self.seed,
                "start": None if self.start is None else _facts(self.start).get("key"),
                "streams": [file_sha256(path) for path in (self.train, self.dev)],
            }
        )


def train_all(tasks: Sequence[TrainTask], pool: ProcessPoolExecutor, say: Say) -> float:
    """Train every task, the first ones first, and return the processor seconds they took."""
    seconds = 0.0
    futures = {pool.submit(train_one, task): task for task in tasks}
    for done in as_completed(futures):
        seconds += done.result()
        task = futures[done]
        say(f"{'/'.join(task.folder.parts[-3:])}: {done.result():.0f} s of processor")
    return seconds


def train_one(task: TrainTask) -> float:
    """Train one model unless it is there, and return the processor seconds it once took."""
    key, facts = task.key(), _facts(task.folder)
    if facts.get("key") == key:
        return float(str(facts["processor_s"]))
    started_s = time.process_time()
    decoder = (
        Decoder(task.config, seed=task.seed)
        if task.start is None
        else load_kernel(task.start).decoder
    )
    checkpoints = task.folder / "checkpoints"
    train, dev = (
        Windows.of(np.load(path), context=task.config.context, seed=task.seed)
        for path in (task.train, task.dev)
    )
    job = Job(
        kernel=task.folder.name,
        stage="seed" if task.start is None else "branch",
        step=task.step,
        bytes_per_token=1.0,
        checkpoint_every=max(1, -(-task.step.steps // CHECKPOINTS)),
        dev_windows=DEV_WINDOWS,
        # A rollback would give one side of the comparison more steps than its budget.
        guards=GuardConfig(enabled=False),
    )
    result = run_job(job, decoder, train, dev, checkpoints)
    shutil.rmtree(checkpoints, ignore_errors=True)
    seconds = time.process_time() - started_s
    save_kernel(
        task.folder,
        decoder,
        tokenizer_hash="",
        facts={
            "key": key,
            "processor_s": seconds,
            "steps": result.steps,
            "best_step": result.best_step,
            "dev_nats": result.dev_nats,
        },
    )
    return seconds


@contextmanager
def workers() -> Iterator[ProcessPoolExecutor]:
    """Provide the processes that train and score."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(CORES, mp_context=context, initializer=_one_thread) as pool:
        yield pool


def _one_thread() -> None:
    torch.set_num_threads(1)


def _facts(folder: Path) -> dict[str, object]:
    """Return the facts of a kernel's folder; empty when there is no whole kernel."""
    try:
        return dict(load_kernel(folder).facts)
    except (ArtifactError, json.JSONDecodeError):
        return {}
