"""Recipe sections as checked models: text, kernels and steps of a training run, from TOML files."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from constellation.errors import ConfigError
from constellation.kernel.network.config import PRESETS
from constellation.routing.site_fit import BASINS_MAX
from training.recipe_corpus import CorpusSection
from training.recipe_guards import GuardsSection
from training.recipe_pairs import PairsSection
from training.recipe_running import (
    BudgetSection,
    Section,
    Share,
    TrackingSection,
    WorkersSection,
)
from training.recipe_transfer import AdapterSection, DistilSection, EmbeddingSection


class CoordizerSection(Section):
    """The tokenizer with coordinates."""

    vocab_size: int = Field(default=4096, ge=257, le=2**20, description="Most tokens.")
    criterion: Literal["count", "phi"] = Field(
        default="count", description="How merges are chosen: by count or by integration gain."
    )


class RoutingSection(Section):
    """Where kernels route from."""

    basins_max: int = Field(
        default=8,
        ge=1,
        le=BASINS_MAX,
        description="Most basins of a kernel. How many a kernel has is found in its own text, one "
        "for each 64 documents at most; 1: the mean of its documents alone.",
    )


class KernelSection(Section):
    """The network that every kernel has."""

    preset: str = Field(
        default="spark", description=f"Named configuration, one of: {', '.join(PRESETS)}."
    )
    context: int | None = Field(
        default=None, ge=8, description="Tokens read at once; left out: the preset's."
    )
    attention: Literal["dot", "qfi", "fisher_rao"] | None = Field(
        default=None, description="Geometry of queries and keys; left out: the preset's."
    )
    width: int | None = Field(default=None, ge=2, description="Left out: the preset's channels.")
    num_layers: int | None = Field(default=None, ge=1, description="Left out: the preset's.")
    num_heads: int | None = Field(default=None, ge=1, description="Left out: the preset's.")
    mlp_width: int | None = Field(default=None, ge=1, description="Left out: the preset's.")
    running_coupling: bool | None = Field(
        default=None,
        description="Whether kappa runs with the number of visible keys; left out: the preset's.",
    )
    beta_frozen: float | None = Field(
        default=None,
        description="Slope of the running coupling, held; left out: one is learned per head.",
    )
    recurrent_layers: tuple[int, ...] | None = Field(
        default=None,
        description="Layers, counted from 0, passed several times with the same weights; left "
        "out: the preset's.",
    )
    loops_min: int | None = Field(
        default=None, ge=3, description="Fewest passes of a recurrent layer; left out: 3."
    )
    loops_max: int | None = Field(
        default=None, ge=3, description="Most passes of a recurrent layer; left out: the preset's."
    )
    depth_threshold: float | None = Field(
        default=None,
        gt=0,
        description="Radians: a token stops looping when a pass moves its next-token distribution "
        "by less; left out: every token makes the most passes.",
    )
    basin_outcomes: int | None = Field(
        default=None,
        ge=2,
        description="Outcomes of the basin head, those of the coordizer (64); left out: no head.",
    )

    @model_validator(mode="after")
    def _check(self) -> "KernelSection":
        if self.preset not in PRESETS:
            raise ValueError(f"preset is {self.preset!r}; allowed: {', '.join(PRESETS)}")
        try:
            replace(PRESETS[self.preset], **self.changes)
        except ConfigError as error:
            raise ValueError(f"preset {self.preset!r} with these changes: {error}") from error
        return self

    @property
    def changes(self) -> dict[str, Any]:
        """What is changed of the preset."""
        return self.model_dump(exclude={"preset"}, exclude_none=True)


class StageSection(Section):
    """One stage of training: the seed on all domains, or the branches on one domain each."""

    steps: int = Field(ge=1, description="Optimisation steps (per kernel).")
    batch_size: int = Field(ge=1, description="Sequences per step, over all workers together.")
    learning_rate: float = Field(gt=0, description="Highest learning rate, after the warm-up.")
    warmup_steps: int = Field(default=10, ge=0, description="Steps of linear warm-up.")
    final_share: float = Field(
        default=0.1, ge=0, le=1, description="Learning rate at the last step over the highest."
    )


class BranchSection(StageSection):
    """The stage of the branches."""

    replay_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of a branch's tokens that come from other domains: it forgets them "
        "less, and costs less where a route is wrong.",
    )


OptimiserKind = Literal["adamw", "muon", "diagonal_fisher"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16"]


class OptimiserSection(Section):
    """The rule that moves parameters, and how a step is computed."""

    kind: OptimiserKind = Field(
        default="adamw",
        description="Rule; muon moves hidden matrices and leaves the rest to AdamW. "
        "diagonal_fisher wants a learning rate far below the others'.",
    )
    momentum: float = Field(
        default=0.95, ge=0, lt=1, description="Decay of the mean gradient of muon's matrices."
    )
    damping: float = Field(
        default=0.1, gt=0, description="Share of the mean of F that diagonal_fisher adds to F."
    )
    accumulation_steps: int = Field(
        default=1, ge=1, description="Parts a worker's share of a batch is computed in, in turn."
    )
    device: Device = Field(
        default="auto", description="Where kernels train; auto: an accelerator if there is one."
    )
    weight_decay: float = Field(default=0.1, ge=0, description="Decay of matrices, per unit rate.")
    beta1: Share = Field(default=0.9, description="Decay of the gradient's mean.")
    beta2: Share = Field(default=0.95, description="Decay of the gradient's square.")
    clip_norm: float = Field(default=1.0, gt=0, description="Largest norm of the whole gradient.")
    precision: Precision = Field(
        default="auto",
        description="Of matrix products; auto: bfloat16 where the processor multiplies it "
        "natively, else float32.",
    )


class ObjectiveSection(Section):
    """What a step minimises; terms of weight 0 are not computed."""

    preset: Literal["s1", "s2"] | None = Field(
        default=None,
        description="Weights of an earlier system, which other keys here override: s1 (the E8 "
        "constellation) or s2 (the recursive kernel).",
    )
    lambda_lm: float = Field(default=1.0, ge=0, description="Weight of the cross-entropy.")
    lambda_basin: float = Field(
        default=0.0, ge=0, description="Of the basin head's squared distance to its target."
    )
    lambda_phi: float = Field(
        default=0.0, ge=0, description="Of the Phi surrogate's squared distance to phi_target."
    )
    lambda_kappa: float = Field(
        default=0.0, ge=0, description="Of ln(coupling / kappa_target)^2, the mean over heads."
    )
    lambda_beta: float = Field(
        default=0.0, ge=0, description="Of (slope - beta_target)^2, the mean over heads."
    )
    lambda_entropy: float = Field(
        default=0.0, ge=0, description="Of the squared shortfall of the output entropy."
    )
    lambda_step: float = Field(
        default=0.0, ge=0, description="Of the basin's squared step between batches over its cap."
    )
    basin_target: Path | None = Field(
        default=None,
        description="Basin signature (`constellation basin extract`) that every kernel's head is "
        "trained towards; left out: the basins of the texts it reads. Needs lambda_basin.",
    )
    phi_target: float = Field(default=0.8, lt=1, description="Surrogate aimed at.")
    kappa_target: float | None = Field(
        default=None, gt=0, description="Coupling aimed at; left out: that before training."
    )
    beta_target: float = Field(
        default=0.0,
        description="Slope aimed at. A kernel trained towards a slope is no evidence for it.",
    )
    entropy_floor_nats: float = Field(
        default=1.0, ge=0, description="Mean output entropy below which a sequence is penalised."
    )
    step_cap_radians: float = Field(
        default=0.05, ge=0, description="Step of the mean basin between batches that is free."
    )


class CheckpointSection(Section):
    """What is kept while training runs."""

    every_steps: int = Field(default=50, ge=1, description="Steps between checkpoints.")
    keep_last: int = Field(default=2, ge=1, description="Checkpoints kept beside the best one.")
    keep_finished: bool = Field(
        default=False,
        description="Keep the checkpoints (three times a kernel's size each) of a finished run.",
    )
    dev_windows: int = Field(
        default=16, ge=1, description="Held-out windows scored at each checkpoint to find the best."
    )


Mode = Literal["branch-train", "synchronized", "per-actor"]

STAGES: Final[Mapping[Mode, tuple[frozenset[str], frozenset[str]]]] = MappingProxyType(
    {
        "branch-train": (frozenset({"seed_stage", "branch_stage"}), frozenset()),
        "synchronized": (frozenset({"seed_stage"}), frozenset()),
        "per-actor": (frozenset({"branch_stage"}), frozenset({"seed_stage"})),
    }
)
"""Mode -> the stages that it needs, and those that it may have beside them."""


class Recipe(Section):
    """All of a training run."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_.-]*$",
        max_length=64,
        description="Name of the recipe, and of the kernel that mode synchronized trains.",
    )
    mode: Mode = Field(
        default="branch-train",
        description="branch-train: a shared seed, then a kernel per domain from it, in one Ray "
        "Train run. synchronized: one kernel on all domains. per-actor: a kernel per domain, each "
        "in a Ray Train run of its own, from a shared seed when there is a seed_stage.",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**64, description="Of weights, data order and coordinates."
    )
    corpus: CorpusSection = Field(default=CorpusSection(), description="Which text.")
    pairs: PairsSection | None = Field(
        default=None,
        description="Train the one kernel on pairs, in symbols of its own; left out: on text.",
    )
    coordizer: CoordizerSection = Field(default=CoordizerSection(), description="Tokenizer.")
    routing: RoutingSection = Field(default=RoutingSection(), description="Routing.")
    kernel: KernelSection = Field(default=KernelSection(), description="Network.")
    seed_stage: StageSection | None = Field(
        default=None, description="Training on all domains: of the shared seed, or the one kernel."
    )
    branch_stage: BranchSection | None = Field(
        default=None, description="Training of each domain's kernel."
    )
    optimiser: OptimiserSection = Field(default=OptimiserSection(), description="Optimiser.")
    objective: ObjectiveSection = Field(default=ObjectiveSection(), description="What to minimise.")
    adapter: AdapterSection | None = Field(
        default=None, description="Train adapters as branches; left out: whole kernels."
    )
    embedding: EmbeddingSection | None = Field(
        default=None, description="Frozen input embeddings; left out: kernels learn theirs."
    )
    distil: DistilSection | None = Field(
        default=None, description="Learn from a teacher's soft targets; left out: from text alone."
    )
    guards: GuardsSection = Field(default=GuardsSection(), description="What to watch.")
    checkpoints: CheckpointSection = Field(default=CheckpointSection(), description="What is kept.")
    workers: WorkersSection = Field(default=WorkersSection(), description="Sharing out.")
    budget: BudgetSection = Field(default=BudgetSection(), description="What it may spend.")
    tracking: TrackingSection = Field(
        default=TrackingSection(), description="Where else numbers go."
    )

    @property
    def replay_share(self) -> float:
        """Share of a branch's tokens that come from other domains."""
        return 0.0 if self.branch_stage is None else self.branch_stage.replay_share

    @model_validator(mode="after")
    def _check_mode(self) -> "Recipe":
        needed, optional = STAGES[self.mode]
        given = {name for name in ("seed_stage", "branch_stage") if getattr(self, name) is not None}
        if missing := sorted(needed - given):
            raise ValueError(f"mode {self.mode} needs [{'] and ['.join(missing)}]")
        if unused := sorted(given - needed - optional):
            raise ValueError(
                f"mode {self.mode} does not use [{'] and ['.join(unused)}]; remove the section "
                "or choose another mode"
            )
        if self.pairs is not None and self.mode != "synchronized":
            raise ValueError("[pairs] train one kernel by itself; set mode to synchronized")
        if self.adapter is not None and given != {"seed_stage", "branch_stage"}:
            raise ValueError("[adapter] needs a seed_stage to adapt and a branch_stage")
        stages = [stage for stage in (self.seed_stage, self.branch_stage) if stage is not None]
        smallest = min(stage.batch_size for stage in stages)
        if self.optimiser.accumulation_steps > smallest:
            raise ValueError(
                f"optimiser.accumulation_steps is {self.optimiser.accumulation_steps}, above a "
                f"batch_size of {smallest}: a part would have no sequence"
            )
        workers, least = self.workers, self.workers.elastic_min_workers
        if self.mode != "per-actor" and workers.workers_per_kernel != 1:
            raise ValueError("workers.workers_per_kernel is for mode per-actor")
        if workers.workers_per_kernel > workers.num_workers:
            raise ValueError(
                f"workers.workers_per_kernel is {workers.workers_per_kernel}, above num_workers "
                f"{workers.num_workers}"
            )
        if least is not None and self.mode != "synchronized":
            raise ValueError("workers.elastic_min_workers is for mode synchronized")
        if least is not None and least > workers.num_workers:
            raise ValueError(
                f"workers.elastic_min_workers is {least}, above num_workers {workers.num_workers}"
            )
        return self

    def without_keeping(self) -> "Recipe":
        """Return the recipe with the defaults of what decides how much is kept, not what is made.

        A key of it stays the same when only `checkpoints.keep_last` or `keep_finished` change.
        """
        kept = {
            name: CheckpointSection.model_fields[name].default
            for name in ("keep_last", "keep_finished")
        }
        return self.model_copy(update={"checkpoints": self.checkpoints.model_copy(update=kept)})

    def key(self, *sections: str) -> str:
        """Return the sha256 (hex) of the named sections (all when none is named)."""
        values = self.model_dump_json(include=set(sections) if sections else None)
        return hashlib.sha256(values.encode()).hexdigest()
