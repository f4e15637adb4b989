"""Predict the memory of a plan's trainings per worker, and how many workers fit."""

import torch

from constellation.errors import DoesNotFit
from constellation.kernel.network.config import KernelConfig
from training.loop.job import Job
from training.loop.step import choose_device, use_bfloat16
from training.runs.kernel_memory import training_memory
from training.runs.schedule import Demand
from training.runs.training_plan import TrainingPlan


def on_gpu(plan: TrainingPlan) -> bool:
    """Return whether the kernels are trained on a GPU of this machine."""
    return choose_device(plan.branch_jobs[0].step.device) == torch.device("cuda")


def worker_bytes(plan: TrainingPlan, job: Job, workers: int) -> int:
    """Return the predicted peak of one of several workers that train a kernel together.

    On a GPU this is what the worker would take without one: weights and activations move to the
    device, and CUDA's own host memory takes their place.
    """
    config = KernelConfig.from_dict(plan.kernel_config)
    share = -(-job.step.batch_size // workers)
    at_once = -(-share // job.step.accumulation_steps)
    bfloat16 = use_bfloat16(job.step.precision)
    return training_memory(config, batch_size=at_once, bfloat16=bfloat16).peak


def demand(plan: TrainingPlan, name: str, workers: int) -> Demand:
    """Return workers and memory of training one kernel by this many workers."""
    memory = workers * worker_bytes(plan, plan.job(name), workers)
    return Demand(kernel=name, workers=workers, memory_bytes=memory)


def workers_that_fit(
    plan: TrainingPlan, names: tuple[str, ...], *, wanted: int, limit_bytes: int
) -> int:
    """Return how many workers of one group fit into the memory, `wanted` at most.

    Args:
        plan: The plan that is trained.
        names: What the group trains: the seed and a synchronized kernel by all workers together,
            every other kernel by one worker alone.
        wanted: Workers asked for.
        limit_bytes: Memory they may take together.

    Raises:
        DoesNotFit: Not even one does.
    """
    for workers in range(wanted, 0, -1):
        if workers * _group_worker_bytes(plan, names, workers) <= limit_bytes:
            return workers
    needed = _group_worker_bytes(plan, names, 1)
    raise DoesNotFit(names[-1], needed_bytes=needed, limit_bytes=limit_bytes)


def _group_worker_bytes(plan: TrainingPlan, names: tuple[str, ...], workers: int) -> int:
    jobs = [plan.job(name) for name in names]
    return max(worker_bytes(plan, job, workers if job.stage == "seed" else 1) for job in jobs)
