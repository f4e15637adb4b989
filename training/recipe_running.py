"""The recipe sections on how a run is carried out: workers, budget, trackers; not its result."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A table of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class WorkersSection(Section):
    """How the work is shared out."""

    num_workers: int = Field(
        default=2,
        ge=1,
        description="Ray Train workers at one time; never more than Ray has CPUs (GPUs, when the "
        "kernels are trained on them), nor than fit into the memory.",
    )
    workers_per_kernel: int = Field(
        default=1, ge=1, description="Workers that train one kernel together; mode per-actor only."
    )
    elastic_min_workers: int | None = Field(
        default=None,
        ge=1,
        description="Start, and go on after a loss, with this many workers or more, up to "
        "num_workers, as Ray has room; left out: always num_workers. Mode synchronized only.",
    )
    memory_limit_gb: float | None = Field(
        default=None,
        gt=0,
        description="Memory that all workers together may take, 1e9 bytes; what does not fit is "
        "staged until it does. Left out: what the machine has available when training starts.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Threads per worker; left out: the node's CPUs shared out.",
    )
    max_failures: int = Field(
        default=3, ge=0, description="Lost workers tolerated; each resumes from its checkpoints."
    )


class BudgetSection(Section):
    """What a run may spend; at 80 % it warns, at 100 % it writes checkpoints and stops."""

    tokens: int | None = Field(
        default=None, ge=1, description="Training tokens of all kernels and the seed together."
    )
    minutes: float | None = Field(
        default=None, gt=0, description="Wall-clock minutes, over all resumed runs."
    )
    cost: float | None = Field(
        default=None, gt=0, description="Money, in the unit of price_per_hour."
    )
    price_per_hour: float | None = Field(
        default=None, gt=0, description="What an hour of this machine costs; cost needs it."
    )

    @model_validator(mode="after")
    def _check(self) -> "BudgetSection":
        if self.cost is not None and self.price_per_hour is None:
            raise ValueError("cost needs price_per_hour")
        return self


class TrackingSection(Section):
    """Where else a run's numbers go, beside its own logs."""

    tensorboard: bool = Field(
        default=True, description="Write TensorBoard files, a folder per kernel, to `tensorboard/`."
    )
    wandb_project: str | None = Field(
        default=None,
        min_length=1,
        description="Write an offline run of Weights & Biases for this project to `wandb/`, which "
        "`wandb sync` uploads; needs the package wandb. Left out: none.",
    )
