"""Branch-train: one seed trained by all workers together, then a kernel per domain from it.

This is what every worker does; it knows its peers, not Ray. All state is in the run's folder,
so a worker that starts again goes on where the folder says.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from constellation.errors import ArtifactError
from constellation.kernel.checkpoint import load_kernel, save_kernel
from constellation.kernel.config import KernelConfig
from constellation.kernel.decoder import Decoder
from training.data import Windows
from training.events import KernelProgress
from training.loop import Job, JobResult, run_job
from training.step import Alone, Peers, StepConfig

SEED = "seed"
"""Name of the shared start and of its folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BranchPlan:
    """Everything a worker needs; plain values, so that it travels as JSON."""

    out: str
    """Absolute path of the run's folder, visible to all workers."""
    key: str
    """sha256 (hex) of all that decides the result; kernels made under another key are stale."""
    kernels: tuple[str, ...]
    """Names of the branches."""
    kernel_config: Mapping[str, object]
    """As `KernelConfig.to_dict` gives it."""
    tokenizer_hash: str
    seed: int
    """Of weights and data order."""
    seed_job: Job
    """Training of the seed."""
    branch_jobs: tuple[Job, ...]
    """One per kernel, in the order of `kernels`."""
    threads: int | None = None
    """Threads per worker; None shares the node's CPUs out."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BranchPlan":
        """Build a plan from `to_dict`'s values."""
        return cls(
            **{
                **values,
                "kernels": tuple(values["kernels"]),
                "seed_job": _job(values["seed_job"]),
                "branch_jobs": tuple(_job(job) for job in values["branch_jobs"]),
            }
        )

    @property
    def checkpoints(self) -> Path:
        """Folder of this run's checkpoints and its stop file."""
        return Path(self.out) / "checkpoints" / self.key[:16]

    @property
    def stop_file(self) -> Path:
        """When this file appears, workers write a checkpoint and stop."""
        return self.checkpoints / "stop"

    def kernel_folder(self, name: str) -> Path:
        """Return the folder of a finished kernel, the seed included."""
        return Path(self.out) / SEED if name == SEED else Path(self.out) / "kernels" / name

    def tokens(self, name: str, split: str) -> Path:
        """Return the token file of a domain, or of all domains under the name of the seed."""
        return Path(self.out) / "tokens" / f"{name}.{split}.npy"


def train_share(
    plan: BranchPlan,
    peers: Peers,
    *,
    on_progress: Callable[[KernelProgress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Do one worker's share: the seed with all others, then every `world`-th branch alone.

    Finished kernels of the same key are passed over.

    Returns:
        Whether all of the share is finished; False after a stop.

    Raises:
        TrainingError: A checkpoint or token file cannot be used.
    """
    if not is_finished(plan, SEED):
        # The seed's rank-0 worker writes its checkpoint; the rest wait inside.
        decoder = Decoder(KernelConfig.from_dict(plan.kernel_config), seed=plan.seed)
        result = _run(plan, plan.seed_job, decoder, peers, on_progress, should_stop)
        if not result.finished:
            return False
        if peers.rank == 0:
            _save(plan, SEED, decoder, result)
    peers.wait()
    mine = list(zip(plan.kernels, plan.branch_jobs, strict=True))[peers.rank :: peers.world]
    for name, job in mine:
        if is_finished(plan, name):
            continue
        decoder = load_kernel(plan.kernel_folder(SEED)).decoder
        result = _run(plan, job, decoder, Alone(), on_progress, should_stop)
        if not result.finished:
            return False
        _save(plan, name, decoder, result)
    return True


def is_finished(plan: BranchPlan, name: str) -> bool:
    """Return whether the kernel's folder holds its finished weights of this very plan."""
    folder = plan.kernel_folder(name)
    if not folder.is_dir():
        return False
    try:
        return load_kernel(folder).facts.get("run_key") == plan.key
    except ArtifactError:
        return False


def _run(
    plan: BranchPlan,
    job: Job,
    decoder: Decoder,
    peers: Peers,
    on_progress: Callable[[KernelProgress], None],
    should_stop: Callable[[], bool],
) -> JobResult:
    windows = {
        split: Windows.of(
            np.load(plan.tokens(job.kernel, split)), context=decoder.config.context, seed=plan.seed
        )
        for split in ("train", "dev")
    }
    return run_job(
        job,
        decoder,
        windows["train"],
        windows["dev"],
        plan.checkpoints / job.kernel,
        peers=peers,
        on_progress=on_progress,
        should_stop=should_stop,
    )


def _save(plan: BranchPlan, name: str, decoder: Decoder, result: JobResult) -> None:
    save_kernel(
        plan.kernel_folder(name),
        decoder,
        tokenizer_hash=plan.tokenizer_hash,
        facts={
            "name": name,
            "run_key": plan.key,
            "steps": result.steps,
            "best_step": result.best_step,
            "dev_nats_per_token": result.dev_nats,
        },
    )


def _job(values: Mapping[str, Any]) -> Job:
    return Job(**{**values, "step": StepConfig(**values["step"])})
