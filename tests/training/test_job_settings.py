"""What a recipe's [objective], [optimiser] and [guards] come to in the jobs of a run."""

from dataclasses import replace
from pathlib import Path

import pytest

from constellation.errors import ConfigError
from constellation.kernel.files.checkpoint import load_kernel
from tests.training import tiny
from tests.training.test_pipeline import recipe, text  # noqa: F401  (a fixture)
from training.guards.guard import GuardConfig
from training.guards.probe import ProbeConfig
from training.job_settings import fit_basin_head, objective_config, watch_settings
from training.loop.objective import PRESETS, ObjectiveConfig
from training.loop.step import Alone, StepConfig
from training.pipeline import train
from training.progress.events import Event, KernelProgress, OnEvent
from training.recipe import GuardsSection, ObjectiveSection, OptimiserSection, Recipe
from training.runs.training_plan import TrainingPlan
from training.runs.worker import train_share


def test_empty_sections_are_the_defaults_of_the_settings() -> None:
    assert objective_config(ObjectiveSection()) == ObjectiveConfig()
    settings = watch_settings(GuardsSection(), gauged=True)
    assert settings["guards"] == GuardConfig()
    assert settings["probe"] == ProbeConfig()
    values = OptimiserSection().model_dump()
    bare = StepConfig(steps=1, batch_size=1, learning_rate=1.0)
    assert StepConfig(steps=1, batch_size=1, learning_rate=1.0, **values) == bare


def test_keys_of_the_recipe_go_over_those_of_the_preset() -> None:
    section = ObjectiveSection.model_validate({"preset": "s2", "lambda_phi": 0.0})
    assert objective_config(section) == PRESETS["s2"].model_copy(update={"lambda_phi": 0.0})
    assert objective_config(ObjectiveSection(preset="s1")) == PRESETS["s1"]


def test_only_gauged_jobs_act_on_phi() -> None:
    section = GuardsSection(measure_phi=True, watch_phi=True, phase_borders=(0.6, 0.7, 0.8))
    seed, branch = (watch_settings(section, gauged=gauged) for gauged in (False, True))
    assert (seed["probe"].phi, seed["probe"].gauge, seed["guards"].phi) == (True, False, False)
    assert (branch["probe"].phi, branch["probe"].gauge, branch["guards"].phi) == (True, True, True)
    assert branch["phases"].borders == (0.6, 0.7, 0.8)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"watch_phi": True}, "measure_phi"),
        ({"phi_low": 0.9}, "phi_low"),
        ({"phase_borders": [0.8, 0.7, 0.9]}, "rise"),
    ],
)
def test_guards_that_contradict_themselves_are_refused(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GuardsSection.model_validate(values)


def test_a_basin_head_is_added_where_the_objective_trains_one_and_must_fit() -> None:
    wanting = ObjectiveConfig(lambda_basin=1.0)
    assert fit_basin_head(tiny.CONFIG, ObjectiveConfig(), 64) == tiny.CONFIG
    assert fit_basin_head(tiny.CONFIG, wanting, 64).basin_outcomes == 64
    with pytest.raises(ConfigError, match=r"basin_outcomes is 8 .* 64"):
        fit_basin_head(replace(tiny.CONFIG, basin_outcomes=8), wanting, 64)


def test_a_job_survives_json() -> None:
    job = replace(
        tiny.job(),
        objective=PRESETS["s2"],
        probe=ProbeConfig(phi=True, gauge=True),
        guards=GuardConfig(phi=True),
        basin_target=(0.5, 0.5),
    )
    assert tiny.through_json(job) == job


@pytest.mark.slow
def test_a_recipe_that_trains_basins_brings_them_to_those_of_the_text(
    text: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    events: list[Event] = []

    def told(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
        train_share(plan, Alone(), on_progress=on_event)

    stage = {"batch_size": 4, "learning_rate": 3e-2, "warmup_steps": 2}
    changed = recipe(
        text,
        objective={"lambda_basin": 2.0},
        optimiser={"kind": "muon"},
        seed_stage={**stage, "steps": 20},
        branch_stage={**stage, "steps": 5},
    )
    train(changed, tmp_path / "out", events.append, trainer=told)
    assert load_kernel(tmp_path / "out" / "kernels" / "sea").config.basin_outcomes is not None
    progress = [event for event in events if isinstance(event, KernelProgress)]
    first = progress[0]
    last = [each for each in progress if each.kernel == "sea"][-1]
    assert set(first.terms) == set(last.terms) == {"basin"}
    assert last.terms["basin"] < 0.5 * first.terms["basin"]
    assert last.basin_distance is not None
    assert last.basin_distance**2 == pytest.approx(last.terms["basin"], rel=0.9)
