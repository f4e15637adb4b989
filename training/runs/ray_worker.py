"""A worker of Ray Train: trains kernels, or its part of kernels, for one `fit()`."""

from pathlib import Path
from typing import Any, Final

import ray.train
import torch
import torch.distributed
from torch import Tensor

from constellation.errors import ConstellationError
from constellation.machine_limits import usable_cores
from training.run_files.shared_files import SHARED, RunFiles
from training.runs.event_files import event_writer
from training.runs.failures import read_failure, record_failure
from training.runs.interrupts import StopFile
from training.runs.ray_run_folder import copied_files
from training.runs.training_plan import SHARES, TrainingPlan
from training.runs.worker import train_kernel, train_share
from training.runs.worker_lanes import orders

STOP_S: Final = 0.5
"""Seconds between two questions to the driver's node whether to stop."""


class RayPeers:
    """The workers of one Ray Train group, joined by torch.distributed."""

    def __init__(self) -> None:
        """Read rank and size of the group that Ray Train has set up."""
        self.rank = torch.distributed.get_rank()
        self.world = torch.distributed.get_world_size()

    def sum(self, tensor: Tensor) -> None:
        """Replace `tensor` by its sum over all workers."""
        if self.world > 1:
            torch.distributed.all_reduce(tensor)

    def wait(self) -> None:
        """Return when all workers have called this method."""
        if self.world > 1:
            torch.distributed.barrier()


def train_worker(config: dict[str, Any]) -> None:
    """Run one worker's part of a run or lane; the function that Ray Train calls."""
    plan, server = TrainingPlan.from_dict(config["plan"]), config["server"]
    files: RunFiles = SHARED
    orders_folder = Path(config.get("orders", plan.out))
    if server is not None:
        files, copy = copied_files(server, Path(plan.out))
        orders_folder = copy / orders_folder.relative_to(plan.out)
        plan = plan.moved_to(copy)
    _set_threads(plan, config["sharers"])
    stop = StopFile(plan.stop_file, files, every_s=0.0 if server is None else STOP_S)
    worker = _Worker(plan, files, RayPeers(), stop)
    if "run" in config:
        worker.train(config["run"])
    else:
        worker.train_ordered(orders_folder)


class _Worker:
    """One worker of a run, on a node that sees the run's folder or copies from it."""

    def __init__(
        self, plan: TrainingPlan, files: RunFiles, peers: RayPeers, stop: StopFile
    ) -> None:
        self._plan = plan
        self._files = files
        self._peers = peers
        self._stop = stop

    def train_ordered(self, folder: Path) -> None:
        """Train the kernels of a lane, until it is closed or a training does not finish."""
        rank, files = self._peers.rank, self._files
        for kernel in orders(folder, rank=rank, should_stop=self._stop, files=files):
            if not self.train(kernel):
                return

    def train(self, run: str) -> bool:
        """Run one worker's part of a training; return whether the training is finished."""
        plan, files, failure = self._plan, self._files, self._plan.failure_file(run)
        if read_failure(failure, files) is not None:
            return False  # it would only come again; all workers of the group see this alike
        name = f"{run.replace(' ', '-')}-{self._peers.rank}"
        with event_writer(plan.checkpoints, name, files) as tell:
            try:
                if run == SHARES:
                    return train_share(
                        plan, self._peers, files=files, on_progress=tell, should_stop=self._stop
                    )
                return train_kernel(
                    plan, run, self._peers, files=files, on_progress=tell, should_stop=self._stop
                )
            except ConstellationError as error:
                record_failure(failure, error, files)
                raise


def _set_threads(plan: TrainingPlan, sharers: int) -> None:
    """Divide this machine's CPUs among the workers that run at the same time."""
    beside = max(sharers, ray.train.get_context().get_local_world_size())
    torch.set_num_threads(plan.threads or max(1, usable_cores() // beside))
