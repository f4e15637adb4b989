"""Train branches as adapters on the shared seed, and store the adapters."""

from collections.abc import Mapping

from constellation.kernel.adapters.adapter_file import save_adapter
from constellation.kernel.adapters.attach import Adapted, AdapterConfig, attach
from constellation.kernel.adapters.coordinate import CoordinateConfig
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.files.checkpoint import KERNEL_FILE, WEIGHTS_FILE
from training.recipe_transfer import AdapterSection
from training.runs.seed import load_seed
from training.runs.training_plan import SEED, TrainingPlan


def adapter_config(section: AdapterSection) -> AdapterConfig:
    """Return the configuration of the section's adapter kind; keys of other kinds are ignored."""
    if section.kind == "coordinate":
        return CoordinateConfig(num_coordinates=section.num_coordinates)
    return LoraConfig(
        rank=section.rank, alpha=section.alpha, dropout=section.dropout, targets=section.targets
    )


def start_adapter(plan: TrainingPlan, name: str) -> Adapted | None:
    """Return a new adapter on the seed for a branch; None when branches are whole kernels."""
    if plan.adapter is None:
        return None
    base, config = load_seed(plan), adapter_config(plan.adapter)
    return attach(base.decoder, config, seed=plan.initial_seed(name))


def save_branch(
    plan: TrainingPlan, name: str, adapted: Adapted, facts: Mapping[str, object]
) -> None:
    """Write a finished adapter to the branch's folder, in place of a whole kernel if one is there.

    Raises:
        OSError: It cannot be written.
        ArtifactError: A number is not finite.
    """
    folder, seed = plan.kernel_folder(name), plan.kernel_folder(SEED)
    save_adapter(
        folder,
        adapted,
        base=load_seed(plan),
        base_folder=seed,
        facts={**facts, "adapter_parameters": adapted.num_parameters()},
    )
    # Last: until the adapter is there, the folder is what it was.
    for stale in (KERNEL_FILE, WEIGHTS_FILE):
        (folder / stale).unlink(missing_ok=True)
