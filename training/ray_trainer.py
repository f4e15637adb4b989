"""The Ray Train shell: runs `train_share` on several workers with one `fit()`.

The driver watches the workers' event files while `fit()` runs in a thread of its own, because
`ray.train.report` may block a worker for seconds. Ctrl-C asks the workers to write a checkpoint
and stop.
"""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
import torch.distributed
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from torch import Tensor

from constellation.errors import TrainingError
from training.branch import BranchPlan, is_finished, train_share
from training.events import Event, KernelProgress, OnEvent, from_json, to_json

POLL_S = 0.25
"""Seconds between looks at the workers' events."""


class RayPeers:
    """The workers of one Ray Train group, joined by torch.distributed."""

    def __init__(self) -> None:
        """Take rank and size from the group that Ray Train has set up."""
        self.rank = torch.distributed.get_rank()
        self.world = torch.distributed.get_world_size()

    def sum(self, tensor: Tensor) -> None:
        """Replace `tensor` by its sum over all workers."""
        if self.world > 1:
            torch.distributed.all_reduce(tensor)

    def wait(self) -> None:
        """Return when all workers have called this."""
        if self.world > 1:
            torch.distributed.barrier()


def train_branches(
    plan: BranchPlan, *, num_workers: int, max_failures: int, on_event: OnEvent
) -> None:
    """Train the seed and all branches under Ray Train, with a single `fit()`.

    Ray must have been started by the caller. Workers need a shared file system for `plan.out`.

    Args:
        plan: What to train.
        num_workers: Most workers; there are never more than Ray has CPUs.
        max_failures: Lost workers tolerated.
        on_event: Called from this thread with every progress report.

    Raises:
        TrainingError: Training failed more than `max_failures` times.
        KeyboardInterrupt: Ctrl-C was pressed; checkpoints are written, run again to resume.
    """
    num_cpus = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
    storage = Path(plan.out) / "ray"
    shutil.rmtree(storage, ignore_errors=True)  # or Ray Train takes up its own stale state
    plan.checkpoints.mkdir(parents=True, exist_ok=True)
    plan.stop_file.unlink(missing_ok=True)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=plan.to_dict(),
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=max(1, min(num_workers, num_cpus))),
        run_config=RunConfig(
            name=plan.key[:16],
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=max_failures),
        ),
    )
    with ThreadPoolExecutor(1, thread_name_prefix="ray-train-fit") as pool:
        # Outside the main thread `fit()` leaves Ctrl-C to us.
        _watch(pool.submit(trainer.fit), plan, on_event)
    shutil.rmtree(storage, ignore_errors=True)
    unfinished = [name for name in plan.kernels if not is_finished(plan, name)]
    if unfinished:
        raise TrainingError(f"training ended without the kernels {', '.join(unfinished)}")


def train_worker(config: dict[str, Any]) -> None:
    """Do one worker's share; this is what Ray Train calls."""
    plan = BranchPlan.from_dict(config)
    context = ray.train.get_context()
    num_cpus = os.cpu_count() or 1
    torch.set_num_threads(plan.threads or max(1, num_cpus // context.get_local_world_size()))
    peers = RayPeers()
    path = plan.checkpoints / f"events-{peers.rank}.jsonl"
    with path.open("a", encoding="utf-8") as file:

        def write(progress: KernelProgress) -> None:
            file.write(to_json(progress) + "\n")
            file.flush()

        train_share(plan, peers, on_progress=write, should_stop=plan.stop_file.exists)


def _watch(fit: "Future[Any]", plan: BranchPlan, on_event: OnEvent) -> None:
    """Pass events on until `fit()` returns; turn Ctrl-C into a clean stop."""
    tail = _Tail(plan.checkpoints)
    interrupted = False
    finished = False
    while not finished:
        try:
            finished = bool(wait([fit], timeout=POLL_S).done)
            for event in tail.read():
                on_event(event)
        except KeyboardInterrupt:
            if interrupted:
                raise  # the second Ctrl-C does not wait
            interrupted = True
            plan.stop_file.touch()
    try:
        fit.result()
    except ray.train.TrainingFailedError as error:
        raise TrainingError(f"Ray Train gave up: {error}") from error
    if interrupted:
        raise KeyboardInterrupt


class _Tail:
    """Reads what workers append to their event files from now on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets = {path: path.stat().st_size for path in folder.glob("events-*.jsonl")}

    def read(self) -> Iterator[Event]:
        """Yield the events of all whole lines since the last call."""
        for path in sorted(self._folder.glob("events-*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                raw = file.read()
            whole = raw[: raw.rfind(b"\n") + 1]
            self._offsets[path] = self._offsets.get(path, 0) + len(whole)
            for line in whole.splitlines():
                yield from_json(line)
