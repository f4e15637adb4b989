"""Train a recipe with a Ray of our own, started only when a kernel has to be trained."""

import os
from pathlib import Path

from cluster.bootstrap import local_ray
from training.branch import BranchPlan
from training.events import OnEvent
from training.pipeline import TrainingResult, train
from training.recipe import Recipe


def train_recipe(recipe: Recipe, out: Path, on_event: OnEvent) -> TrainingResult:
    """Run all parts of `recipe` into `out`; finished ones are skipped.

    Raises:
        CorpusError, ConfigError, TrainingError: See `training.pipeline.train`.
        KeyboardInterrupt: Ctrl-C; checkpoints are written, the same call resumes.
    """
    return train(recipe, out, on_event, trainer=_with_local_ray)


def _with_local_ray(plan: BranchPlan, recipe: Recipe, on_event: OnEvent) -> None:
    # Ray Train fills its log with errors when there is no dashboard.
    with local_ray(num_cpus=os.cpu_count() or 1, dashboard=True):
        from training.ray_trainer import train_branches

        train_branches(
            plan,
            num_workers=recipe.workers.num_workers,
            max_failures=recipe.workers.max_failures,
            on_event=on_event,
        )
