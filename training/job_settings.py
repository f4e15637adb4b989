"""Turn a recipe's sections into the settings of a training job: objective, guards, probes."""

from dataclasses import replace
from typing import Any

from constellation.errors import ConfigError
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.observables.signature import Signature, load_target
from training.guards.guard import GuardConfig
from training.guards.phase import PhaseConfig
from training.guards.probe import ProbeConfig
from training.loop.objective import PRESETS, ObjectiveConfig
from training.loop.step import StepConfig
from training.recipe import ObjectiveSection, OptimiserSection, StageSection
from training.recipe_guards import GuardsSection


def objective_config(section: ObjectiveSection) -> ObjectiveConfig:
    """Return the named objective preset, overridden by the keys that the recipe sets."""
    start = ObjectiveConfig() if section.preset is None else PRESETS[section.preset]
    changes = section.model_dump(exclude={"preset", "basin_target"}, exclude_unset=True)
    return ObjectiveConfig(**{**start.model_dump(), **changes})


def step_config(stage: StageSection, optimiser: OptimiserSection) -> StepConfig:
    """Return the optimiser and step settings of a stage; they do not depend on the text."""
    return StepConfig(**stage.model_dump(exclude={"replay_share"}), **optimiser.model_dump())


def target_signature(section: ObjectiveSection, coordizer_hash: str) -> Signature | None:
    """Return the signature that kernels are trained towards; None when the recipe names none.

    Raises:
        ArtifactError: The file is damaged, or made with another coordizer.
        ConfigError: No term of the objective uses the signature.
    """
    if section.basin_target is None:
        return None
    if objective_config(section).lambda_basin == 0:
        raise ConfigError("objective.basin_target needs objective.lambda_basin above 0")
    return load_target(section.basin_target, coordizer_hash=coordizer_hash)


def fit_basin_head(
    config: KernelConfig, objective: ObjectiveConfig, num_outcomes: int
) -> KernelConfig:
    """Return the kernel configuration, with a basin head if the objective trains one.

    Raises:
        ConfigError: The recipe asks for a head of another size than the coordizer's basins.
    """
    if config.basin_outcomes is None:
        return (
            replace(config, basin_outcomes=num_outcomes) if objective.needs_basin_head else config
        )
    if config.basin_outcomes != num_outcomes:
        raise ConfigError(
            f"kernel.basin_outcomes is {config.basin_outcomes} and the coordizer has "
            f"{num_outcomes} outcomes; leave the key out"
        )
    return config


def watch_settings(section: GuardsSection, *, gauged: bool) -> dict[str, Any]:
    """Return `guards`, `probe` and `phases` of a job.

    Args:
        section: The recipe's guard settings.
        gauged: Whether the job's starting weights give a reference scale for Phi: those of
            branches do, those of a seed are noise.
    """
    tacking, crystal, fracture = section.phase_borders
    return {
        "guards": GuardConfig(
            **section.model_dump(include=set(GuardConfig.model_fields)),
            output=section.watch_output,
            phi=section.watch_phi and gauged,
        ),
        "probe": ProbeConfig(
            every_steps=section.probe_every_steps,
            windows=section.probe_windows,
            output=section.watch_output,
            phi=section.measure_phi,
            gauge=section.measure_phi and gauged,
        ),
        "phases": PhaseConfig(
            tacking_from=tacking,
            crystal_from=crystal,
            fracture_from=fracture,
            hysteresis=section.phase_hysteresis,
            dwell=section.phase_dwell,
        ),
    }
