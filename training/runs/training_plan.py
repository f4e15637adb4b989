"""The plan of a run, which every worker receives: plain values that travel as JSON."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from pydantic import TypeAdapter

from training.loop.job import Job
from training.recipe import Mode
from training.recipe_transfer import AdapterSection

SEED: Final = "seed"
"""Name of the shared seed, of its folder, and of the tokens of all domains together."""

SHARES: Final = "seed and branches"
"""Name of the single Ray Train run of mode branch-train, in which every worker trains a share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlan:
    """All settings that a worker needs."""

    out: str
    """Absolute path of the run's folder, visible to all workers."""
    key: str
    """sha256 (hex) of all inputs that decide the result; kernels of another key are stale."""
    seed_key: str = ""
    """sha256 (hex) of the inputs that decide the seed alone; empty takes `key`."""
    mode: Mode = "branch-train"
    """Mode of the recipe, which says how kernels are shared among workers."""
    kernels: tuple[str, ...]
    """Names of the kernels, without the seed."""
    kernel_config: Mapping[str, object]
    """As `KernelConfig.to_dict` gives it."""
    tokenizer_hash: str
    seed: int
    """Random seed of weights and data order."""
    seed_job: Job | None = None
    """Training job of the seed; None when kernels start from weights of their own."""
    branch_jobs: tuple[Job, ...]
    """One training job per kernel, in the order of `kernels`."""
    adapter: AdapterSection | None = None
    """Of the recipe: branches are adapters on the seed; None trains whole
    kernels."""
    embedding_folder: str | None = None
    """Folder of the model whose input embeddings are used, frozen; None trains embeddings."""
    replays: bool = False
    """Whether branches also read tokens of other domains."""
    threads: int | None = None
    """Threads per worker; None divides the node's CPUs among the workers."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return cast(dict[str, Any], _adapter().dump_python(self, mode="json"))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingPlan":
        """Build a plan from `to_dict`'s values, also after a way through JSON."""
        return _adapter().validate_python(values)

    def moved_to(self, folder: Path) -> "TrainingPlan":
        """Return the same plan for a copy of the run's folder, on another node's disk."""

        def moved(job: Job) -> Job:
            home = Path(job.coordizer_folder) if job.coordizer_folder else None
            if home is None or not home.is_relative_to(self.out):
                return job
            return replace(job, coordizer_folder=str(folder / home.relative_to(self.out)))

        return replace(
            self,
            out=str(folder),
            seed_job=None if self.seed_job is None else moved(self.seed_job),
            branch_jobs=tuple(moved(job) for job in self.branch_jobs),
        )

    def job(self, name: str) -> Job:
        """Return the job of a kernel, or of the seed.

        Raises:
            KeyError: There is no job of that name.
        """
        jobs = dict(zip(self.kernels, self.branch_jobs, strict=True))
        if self.seed_job is not None:
            jobs[SEED] = self.seed_job
        return jobs[name]

    @property
    def context(self) -> int:
        """Tokens that the kernels read at once."""
        return int(cast(int, self.kernel_config["context"]))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all that is trained: the seed, if there is one, and the kernels."""
        return self.kernels if self.seed_job is None else (SEED, *self.kernels)

    def trained_by(self, run: str) -> tuple[str, ...]:
        """Return the names that a Ray Train run trains: one kernel, or all when it is `SHARES`."""
        return self.names if run == SHARES else (run,)

    def initial_seed(self, name: str) -> int:
        """Return the seed of a kernel's own first weights, in [0, 2**32)."""
        if self.mode == "synchronized" or name == SEED:
            return self.seed
        # Of the name, so that another domain more or less changes nothing for this one.
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return int.from_bytes(digest[:4], "big")

    def key_of(self, name: str) -> str:
        """Return the key that a finished kernel, or the seed, carries."""
        return self.seed_key or self.key if name == SEED else self.key

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints of this run's kernels, and of its event and stop files."""
        return self._checkpoints(self.key)

    def checkpoints_of(self, name: str) -> Path:
        """Return a kernel's checkpoint folder; the seed's survives a change of branches."""
        return self._checkpoints(self.key_of(name)) / name

    def _checkpoints(self, key: str) -> Path:
        return Path(self.out) / "checkpoints" / key[:16]

    @property
    def stop_file(self) -> Path:
        """When this file appears, workers write a checkpoint and stop."""
        return self.checkpoints / "stop"

    def failure_file(self, run: str) -> Path:
        """Return the file in which the workers of a Ray Train run store their final error."""
        return self.checkpoints / f"failed-{run.replace(' ', '-')}.json"

    def kernel_folder(self, name: str) -> Path:
        """Return the folder of a finished kernel, the seed included."""
        return Path(self.out) / SEED if name == SEED else Path(self.out) / "kernels" / name

    def tokens(self, name: str, split: str) -> Path:
        """Return a kernel's token file for split "train" or "dev"."""
        source = SEED if self.mode == "synchronized" else name
        return Path(self.out) / "tokens" / f"{source}.{split}.npy"

    def replay(self, name: str) -> Path | None:
        """Return the file of other domains' tokens that a kernel reads besides its own."""
        if not self.replays or name == SEED:
            return None
        return Path(self.out) / "tokens" / f"{name}.replay.npy"


@cache
def _adapter() -> TypeAdapter[TrainingPlan]:
    return TypeAdapter(TrainingPlan)
