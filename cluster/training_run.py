"""Train a recipe with a Ray of our own, started only when a kernel has to be trained."""

import os
from pathlib import Path

from cluster.bootstrap import local_ray
from training.events import OnEvent
from training.pipeline import TrainingResult, train
from training.recipe import Recipe
from training.report.writing import refresh_report
from training.training_plan import TrainingPlan


def train_recipe(recipe: Recipe, out: Path, on_event: OnEvent) -> TrainingResult:
    """Run all parts of `recipe` into `out` and write the report; what is finished is skipped.

    Raises:
        ArtifactError: The report cannot be written.
        CorpusError, ConfigError, TrainingError: See `training.pipeline.train`.
        KeyboardInterrupt: Ctrl-C; checkpoints are written, the same call resumes.
    """
    result = train(recipe, out, on_event, trainer=_with_local_ray)
    refresh_report(result.out)
    return result


def _with_local_ray(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
    # Ray Train fills its log with errors when there is no dashboard.
    with local_ray(num_cpus=os.cpu_count() or 1, dashboard=True):
        from training.ray_trainer import train_with_ray

        train_with_ray(plan, recipe.workers, on_event)
