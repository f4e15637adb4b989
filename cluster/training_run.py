"""Train a recipe with a private Ray, started only when a kernel has to be trained, or a cluster."""

from pathlib import Path

from cluster.training_process import train_in_process
from constellation.errors import TrainingError
from training.pair_run import PairsResult, train_pairs
from training.pipeline import Trainer, TrainingResult, train
from training.progress.events import OnEvent
from training.recipe import Recipe
from training.report.report_files import refresh_report
from training.runs.interrupts import ctrl_c_noted
from training.runs.training_plan import TrainingPlan


def train_recipe(
    recipe: Recipe, out: Path, on_event: OnEvent, *, address: str | None = None
) -> TrainingResult:
    """Run all steps of `recipe` into `out` and write the report; finished steps are skipped.

    Args:
        recipe: What to train and how.
        out: Artifacts folder.
        on_event: Called with the progress.
        address: host:port of the Ray cluster whose nodes train; None trains on this machine.

    Raises:
        ArtifactError: The report cannot be written.
        CorpusError, ConfigError, TrainingError: See `training.pipeline.train`.
        KeyboardInterrupt: Ctrl-C; checkpoints are written, the same call resumes.
    """
    result = train(recipe, out, on_event, trainer=trainer_on(address))
    refresh_report(result.out)
    return result


def train_pairs_recipe(recipe: Recipe, out: Path, on_event: OnEvent) -> PairsResult:
    """Train the kernel of a recipe with `[pairs]` in this process.

    Raises:
        ArtifactError, ConfigError, CorpusError, TrainingError: See
            `training.pair_run.train_pairs`.
        KeyboardInterrupt: Ctrl-C; a checkpoint is written, the same call resumes.
    """
    with ctrl_c_noted() as pressed:
        try:
            return train_pairs(recipe, out, on_event, should_stop=pressed.is_set)
        except TrainingError as error:
            if pressed.is_set():
                raise KeyboardInterrupt from error
            raise


def trainer_on(address: str | None) -> Trainer:
    """Return what trains the kernels of a plan, with the recipe's number of workers.

    Args:
        address: host:port of the Ray cluster whose nodes train; None trains with a private Ray.
    """

    def trainer(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
        train_in_process(plan, recipe.workers, on_event, address=address)

    return trainer
