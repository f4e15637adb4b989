"""The whole way in the modes beside branch-train, and a run that its budget stops."""

import json
from pathlib import Path
from typing import Any

import pytest

from constellation.errors import BudgetUsedUp, ConfigError, TrainingError
from constellation.kernel.files.checkpoint import load_kernel
from constellation.wire.table_file import load_table
from tests.training.test_pipeline import STOCKS, alone, recipe, text  # noqa: F401  (a fixture)
from training.loop.step import Alone
from training.pipeline import train
from training.progress.events import BudgetWarning, Event, OnEvent, PartFinished, ignore
from training.recipe import Recipe
from training.runs.training_plan import TrainingPlan
from training.runs.worker import train_share

STAGE = {"steps": 24, "batch_size": 4, "learning_rate": 1e-2, "warmup_steps": 2}


def stoppable(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
    """Train alone, tell all, and look at the stop file as Ray's workers do."""
    train_share(plan, Alone(), on_progress=on_event, should_stop=plan.stop_file.exists)


def run_file(out: Path) -> Any:
    return json.loads((out / "run.json").read_text())


@pytest.mark.slow
def test_synchronized_trains_one_kernel_on_all_domains(text: Path, tmp_path: Path) -> None:  # noqa: F811
    stage = {**STAGE, "steps": 60}
    wanted = recipe(text, mode="synchronized", seed_stage=stage, branch_stage=None)
    result = train(wanted, tmp_path, trainer=alone)
    assert result.kernels == ("tiny",)
    assert load_kernel(tmp_path / "kernels" / "tiny").facts["steps"] == 60
    assert [site.name for site in load_table(tmp_path / "table.msgpack").sites] == ["tiny"]
    bits = result.report["held_out"]["bits_per_byte"]
    assert set(bits) == {"constellation", "oracle_label", "unigram"}
    assert bits["constellation"] < bits["unigram"]
    assert result.report["seed"] is None
    again: list[Event] = []
    train(wanted, tmp_path, again.append, trainer=alone)
    assert [e.part for e in again if isinstance(e, PartFinished) and not e.skipped] == []
    assert any(isinstance(event, PartFinished) for event in again)


@pytest.mark.slow
def test_per_actor_without_a_seed_starts_each_kernel_from_weights_of_its_own(
    text: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    wanted = recipe(text, mode="per-actor", seed_stage=None, branch_stage=STAGE)
    result = train(wanted, tmp_path, trainer=alone)
    assert result.kernels == tuple(sorted(STOCKS))
    assert not (tmp_path / "seed").exists()
    run = run_file(tmp_path)
    starts = run["seeds"]["weights"]
    assert set(starts) == set(STOCKS)
    assert len(set(starts.values())) == len(STOCKS)
    assert result.report["held_out"]["seed_minus_constellation_ci95"] is None


@pytest.mark.slow
def test_a_run_leaves_what_it_takes_to_make_it_again(text: Path, tmp_path: Path) -> None:  # noqa: F811
    wanted = recipe(text, mode="synchronized", seed_stage=STAGE, branch_stage=None)
    train(wanted, tmp_path, trainer=alone)
    run = run_file(tmp_path)
    assert Recipe.model_validate(run["recipe"]) == wanted
    assert run["seeds"] == {"recipe": 0, "weights": {"tiny": 0}}
    assert {"python", "torch", "ray", "numpy"} <= set(run["versions"])
    assert all(run["versions"].values())
    splits = run["data"]["manifest"]["splits"]
    assert all(len(splits[name]["sha256"]) == 64 for name in ("train", "dev", "test"))


@pytest.mark.slow
def test_a_budget_stops_the_run_and_a_larger_one_goes_on_to_the_same_weights(
    text: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    plain = {"mode": "synchronized", "seed_stage": STAGE, "branch_stage": None}
    per_step = 4 * 128
    events: list[Event] = []
    small = recipe(text, **plain, budget={"tokens": 10 * per_step})
    with pytest.raises(BudgetUsedUp, match=r"tokens; checkpoints are written, raise budget.tokens"):
        train(small, tmp_path / "a", events.append, trainer=every_step(stoppable))
    warned = [event for event in events if isinstance(event, BudgetWarning)]
    assert [(w.budget, w.used) for w in warned] == [("tokens", 8 * per_step)]
    with pytest.raises(BudgetUsedUp):
        train(small, tmp_path / "a", trainer=stoppable)
    train(
        recipe(text, **plain, budget={"tokens": 25 * per_step}), tmp_path / "a", trainer=stoppable
    )
    train(recipe(text, **plain), tmp_path / "b", trainer=alone)
    one, two = (load_kernel(tmp_path / name / "kernels" / "tiny") for name in "ab")
    assert one.weights_hash == two.weights_hash
    used = json.loads((tmp_path / "a" / "budget.json").read_text())
    assert used["tokens"] == {"tiny": 24 * per_step}


def every_step(trainer: Any) -> Any:
    """Report every step: the first one, and then as if half a second had passed."""

    def trains(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("training.loop.kernel_progress.PROGRESS_EVERY_S", 0.0)
            trainer(plan, recipe, on_event)

    return trains


def test_a_run_that_somebody_stops_says_that_the_same_command_goes_on(
    text: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    def stopped(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
        train_share(plan, Alone(), should_stop=lambda: True)

    wanted = recipe(text, mode="synchronized", seed_stage=STAGE, branch_stage=None)
    with pytest.raises(TrainingError, match=r"stopped before tiny.*same command"):
        train(wanted, tmp_path, ignore, trainer=stopped)


def test_the_one_kernel_must_not_have_the_name_of_the_seed(text: Path, tmp_path: Path) -> None:  # noqa: F811
    wanted = recipe(text, name="seed", mode="synchronized", seed_stage=STAGE, branch_stage=None)
    with pytest.raises(ConfigError, match="which is taken"):
        train(wanted, tmp_path, trainer=alone)
