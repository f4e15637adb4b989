"""What the benchmark trains, for how long: the shape, the schedule, and what minutes buy.

Steps are a function of the arguments alone, so the same command does the same work on any machine,
slow or busy ones included; minutes are those of the machine that docs/log.md describes.
"""

from dataclasses import dataclass, field

from constellation.errors import ConfigError
from constellation.kernel.network.config import KernelConfig
from training.loop.step import StepConfig

CORES = 2
"""Processes that train and score side by side, one thread each."""

TOKENS_PER_CORE_SECOND = 28_000
"""Training speed of the default shape on one core of the machine that docs/log.md describes, other
programs running; a quiet core is up to half as fast again."""

TRAINING_SHARE = 0.8
"""Of the time asked for; the rest is reading, scoring, and what the estimate misses."""


RATE_WIDTH = 48
"""Width that the recipe's rates were chosen for; other widths take rates in inverse proportion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Every model of a table: the dense one, the seed and the experts are built alike."""

    vocab_size: int = 2048
    """Most tokens of the coordizer."""
    width: int = 48
    """Channels."""
    num_layers: int = 2
    """Blocks."""
    num_heads: int = 2
    """Attention heads."""
    mlp_width: int = 128
    """Hidden channels of the MLP."""
    context: int = 256
    """Tokens read at once."""

    def config(self, vocab_size: int) -> KernelConfig:
        """Return the kernel's configuration for the vocabulary that was found."""
        return KernelConfig(
            vocab_size=vocab_size,
            width=self.width,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            mlp_width=self.mlp_width,
            context=self.context,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a budget of steps is spent. Chosen on a corpus that is not reported (docs/log.md)."""

    batch_size: int = 4
    """Sequences per step."""
    dense_rate: float = 4e-3
    """Highest learning rate of the dense model."""
    dense_final_share: float = 0.02
    """Its last rate over the highest."""
    seed_rate: float = 4e-3
    """Highest learning rate of the seed."""
    seed_final_share: float = 0.5
    """Its last rate over the highest: a seed that has not settled branches better."""
    branch_rate: float = 2e-3
    """Highest learning rate of a branch."""
    branch_final_share: float = 0.02
    """Its last rate over the highest."""
    branch_share: float = 0.4
    """Share of all steps that the branches together take, in (0, 1)."""

    replay_share: float = 0.2
    """Share of a branch's tokens that come from other domains, in [0, 1): an expert that has not
    forgotten them costs less where a route is wrong."""

    def __post_init__(self) -> None:
        if not 0 < self.branch_share < 1 or not 0 <= self.replay_share < 1:
            raise ConfigError(
                "need branch_share in (0, 1) and replay_share in [0, 1), got "
                f"{self.branch_share} and {self.replay_share}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The work of one table."""

    num_domains: int
    """Experts."""
    num_seeds: int
    """Independent trainings of everything."""
    seed_steps: int
    """Of the shared start."""
    branch_steps: int
    """Of each expert."""
    shape: Shape = field(default_factory=Shape)
    """Of every model."""
    recipe: Recipe = field(default_factory=Recipe)
    """Rates."""

    @property
    def dense_steps(self) -> int:
        """Steps of the dense model: as many as the seed and all branches together."""
        return self.seed_steps + self.num_domains * self.branch_steps

    @property
    def tokens_per_step(self) -> int:
        """Training tokens of a step."""
        return self.recipe.batch_size * self.shape.context

    @property
    def total_steps(self) -> int:
        """Steps of the first table: dense, seed, branches, and branches of the random split."""
        branches = self.num_domains * self.branch_steps
        return self.num_seeds * (self.dense_steps + self.seed_steps + 2 * branches)

    def dense_step(self) -> StepConfig:
        """Return the optimiser's settings for the dense model."""
        return self._step(self.dense_steps, self.recipe.dense_rate, self.recipe.dense_final_share)

    def seed_step(self) -> StepConfig:
        """Return the optimiser's settings for the seed."""
        return self._step(self.seed_steps, self.recipe.seed_rate, self.recipe.seed_final_share)

    def branch_step(self, num_branches: int | None = None) -> StepConfig:
        """Return the optimiser's settings for a branch.

        Args:
            num_branches: Experts that share the branches' steps; None means one per domain.
        """
        steps = self.num_domains * self.branch_steps // (num_branches or self.num_domains)
        return self._step(steps, self.recipe.branch_rate, self.recipe.branch_final_share)

    def _step(self, steps: int, rate: float, final_share: float) -> StepConfig:
        return StepConfig(
            steps=steps,
            batch_size=self.recipe.batch_size,
            learning_rate=rate * RATE_WIDTH / self.shape.width,
            warmup_steps=min(100, steps // 10),
            final_share=final_share,
            device="cpu",
        )


def make_plan(
    minutes: float,
    *,
    num_domains: int,
    num_seeds: int,
    shape: Shape | None = None,
    recipe: Recipe | None = None,
) -> Plan:
    """Return the plan whose training fits the minutes on two cores.

    Args:
        minutes: Of the whole first table, > 0.
        num_domains: Experts, at least 2.
        num_seeds: At least 1.
        shape: Of every model; the default when left out.
        recipe: Rates and shares; the default when left out.

    Raises:
        ConfigError: The minutes buy less than ten steps for an expert.
    """
    shape, recipe = shape or Shape(), recipe or Recipe()
    seconds = minutes * 60 * CORES * TRAINING_SHARE
    steps = seconds * TOKENS_PER_CORE_SECOND / (recipe.batch_size * shape.context) / num_seeds
    # Dense takes 1, seed and branches 1, the branches of the random split their share again.
    dense_steps = steps / (2 + recipe.branch_share)
    branch_steps = int(dense_steps * recipe.branch_share / num_domains)
    if branch_steps < 10:
        raise ConfigError(
            f"{minutes:g} minutes buy {branch_steps} steps for each of {num_domains} experts; "
            "ten at least: give more minutes or fewer seeds"
        )
    return Plan(
        num_domains=num_domains,
        num_seeds=num_seeds,
        seed_steps=round(dense_steps) - num_domains * branch_steps,
        branch_steps=branch_steps,
        shape=shape,
        recipe=recipe,
    )
