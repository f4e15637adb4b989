"""Recipes: TOML files that say what to train. Unknown keys are errors; every key is documented."""

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from constellation.errors import ConfigError
from constellation.kernel.config import PRESETS

RECIPES = Path(__file__).parent / "recipes"
"""Where the recipes that come with the project lie."""

Share = Annotated[float, Field(gt=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CorpusSection(_Section):
    """Which text to learn from."""

    paths: tuple[Path, ...] = Field(
        default=(),
        description="Folders or files of text, relative to where the command runs; a sub-folder "
        "or file names a domain. Empty: the starter corpus.",
    )
    domain_bytes_max: int | None = Field(
        default=None, ge=1, description="Bytes kept per domain; left out: all."
    )
    skips_max: int = Field(
        default=100, ge=0, description="Unreadable records tolerated before reading stops."
    )
    dev_share: Share = Field(
        default=0.1, description="Share of each domain held out for tuning and calibration."
    )
    test_share: Share = Field(
        default=0.1, description="Share of each domain held out for the reported figures."
    )


class CoordizerSection(_Section):
    """The tokenizer with coordinates."""

    vocab_size: int = Field(default=4096, ge=257, description="Most tokens.")
    criterion: Literal["count", "phi"] = Field(
        default="count", description="How merges are chosen: by count or by integration gain."
    )


class KernelSection(_Section):
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

    @model_validator(mode="after")
    def _check(self) -> "KernelSection":
        if self.preset not in PRESETS:
            raise ValueError(f"preset is {self.preset!r}; allowed: {', '.join(PRESETS)}")
        return self


class StageSection(_Section):
    """One stage of training: the seed on all domains, or the branches on one domain each."""

    steps: int = Field(ge=1, description="Optimisation steps (per kernel).")
    batch_size: int = Field(ge=1, description="Sequences per step, over all workers together.")
    learning_rate: float = Field(gt=0, description="Highest learning rate, after the warm-up.")
    warmup_steps: int = Field(default=10, ge=0, description="Steps of linear warm-up.")
    final_share: float = Field(
        default=0.1, ge=0, le=1, description="Learning rate at the last step over the highest."
    )


class OptimiserSection(_Section):
    """AdamW and the precision of a step."""

    weight_decay: float = Field(default=0.1, ge=0, description="Decay of matrices, per unit rate.")
    beta1: Share = Field(default=0.9, description="Decay of the gradient's mean.")
    beta2: Share = Field(default=0.95, description="Decay of the gradient's square.")
    clip_norm: float = Field(default=1.0, gt=0, description="Largest norm of the whole gradient.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Of matrix products; auto: bfloat16 where the processor multiplies it "
        "natively, else float32.",
    )


class CheckpointSection(_Section):
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


class WorkersSection(_Section):
    """How the work is shared out."""

    num_workers: int = Field(
        default=2, ge=1, description="Ray Train workers; never more than Ray has CPUs."
    )
    threads: int | None = Field(
        default=None, ge=1, description="Threads per worker; left out: the node's CPUs shared out."
    )
    max_failures: int = Field(
        default=3, ge=0, description="Lost workers tolerated; each resumes from its checkpoints."
    )


class Recipe(_Section):
    """All of a branch-train run."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", description="Name of the recipe.")
    seed: int = Field(default=0, ge=0, description="Of weights, data order and coordinates.")
    corpus: CorpusSection = Field(default=CorpusSection(), description="Which text.")
    coordizer: CoordizerSection = Field(default=CoordizerSection(), description="Tokenizer.")
    kernel: KernelSection = Field(default=KernelSection(), description="Network.")
    seed_stage: StageSection = Field(description="Training of the shared seed on all domains.")
    branch_stage: StageSection = Field(description="Training of each domain's kernel from it.")
    optimiser: OptimiserSection = Field(default=OptimiserSection(), description="AdamW.")
    checkpoints: CheckpointSection = Field(default=CheckpointSection(), description="What is kept.")
    workers: WorkersSection = Field(default=WorkersSection(), description="Sharing out.")

    def key(self, *sections: str) -> str:
        """Return the sha256 (hex) of the named sections (all when none is named)."""
        values = self.model_dump_json(include=set(sections) if sections else None)
        return hashlib.sha256(values.encode()).hexdigest()


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by the name of one that comes with the project, or by its path.

    Raises:
        ConfigError: The file is missing or not TOML, or a key is unknown, missing or out of
            range; the message names every such key.
    """
    shipped = RECIPES / f"{name_or_path}.toml"
    path = shipped if shipped.is_file() else Path(name_or_path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        names = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise ConfigError(f"no recipe {str(name_or_path)!r}; give a file or one of: {names}") from (
            error
        )
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ConfigError(f"recipe {path.name}: {problems}") from error
