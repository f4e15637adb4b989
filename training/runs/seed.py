"""Load the finished shared seed that a plan's branches start from."""

from constellation.errors import TrainingError
from constellation.kernel.files.checkpoint import LoadedKernel, load_kernel
from training.runs.training_plan import SEED, TrainingPlan


def load_seed(plan: TrainingPlan) -> LoadedKernel:
    """Return the seed that the branches of a plan grow from.

    Raises:
        ArtifactError: The seed is missing or damaged.
        TrainingError: The run's folder holds the seed of another training.
    """
    folder = plan.kernel_folder(SEED)
    seed = load_kernel(folder)
    if seed.facts.get("run_key") != plan.key_of(SEED):
        raise TrainingError(
            f"{folder} holds the seed of another training; run the same command again, which "
            "trains the seed of this one"
        )
    return seed
