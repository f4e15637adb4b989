"""What is wrong with a recipe is said before anything is read or written."""

from pathlib import Path
from typing import Any

import pytest

from constellation.errors import ConfigError, ConstellationError
from tests.training.test_pipeline import recipe
from training.pipeline import train
from training.progress.events import OnEvent
from training.recipe import Recipe
from training.runs.training_plan import TrainingPlan

TINY = {"width": 16, "num_layers": 1, "num_heads": 2, "mlp_width": 32, "context": 128}


def nobody(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
    raise AssertionError("nothing is trained")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distil": {"teacher": "/nowhere/teacher"}}, "/nowhere/teacher is no folder"),
        ({"embedding": {"folder": "/nowhere/model"}}, "/nowhere/model is no folder"),
        (
            {"objective": {"basin_target": "/nowhere/x.msgpack", "lambda_basin": 1.0}},
            "no such file",
        ),
        ({"corpus": {"paths": ["/nowhere/text"]}}, "/nowhere/text: no such file or folder"),
        ({"guards": {"measure_phi": True}}, "needs a context of 256 tokens"),
        ({"objective": {"lambda_phi": 1.0}, "kernel": TINY | {"width": 4}}, "lambda_phi needs a"),
        ({"adapter": {"kind": "lora", "targets": ["nothing"]}}, "nothing"),
        ({"optimiser": {"device": "cuda"}}, "torch sees no such device"),
    ],
)
def test_what_a_recipe_lacks_is_said_before_a_folder_is_made(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "text").mkdir()
    wanted = recipe(tmp_path / "text", **changes)
    with pytest.raises(ConstellationError, match=message):
        train(wanted, tmp_path / "out", trainer=nobody)
    assert not (tmp_path / "out").exists()


def test_a_run_does_not_learn_from_what_it_writes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ConfigError, match="what it writes included"):
        train(recipe(tmp_path), tmp_path / "artifacts" / "run", trainer=nobody)
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize("name", ["../../../evil", "Greek", "my greek", "", "a/b", ".x", "n" * 65])
def test_a_merge_names_domains_that_can_be_kernels(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="merge names a domain"):
        recipe(tmp_path, corpus={"paths": [str(tmp_path)], "merge": {name: ["greek"]}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "n" * 65}, "at most 64 characters"),
        ({"name": "n" * 300, "mode": "synchronized", "branch_stage": None}, "at most 64"),
        ({"seed": 2**64}, "less than"),
        ({"coordizer": {"vocab_size": 2**20 + 1}}, "less than or equal to 1048576"),
        ({"workers": {"threads": 2**33}}, "less than or equal to 4096"),
        ({"adapter": {"kind": "lora", "rank": 10**6}}, "less than or equal to 4096"),
        ({"optimiser": {"accumulation_steps": 5}}, "above a batch_size of 2"),
        ({"corpus": {"dev_share": 0.6, "test_share": 0.5}}, "together they must stay below 1"),
        (
            {"mode": "per-actor", "workers": {"num_workers": 1, "workers_per_kernel": 2}},
            "workers_per_kernel is 2, above num_workers 1",
        ),
    ],
)
def test_numbers_and_names_that_the_code_below_refuses_are_refused_at_once(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(tmp_path, **changes)


def test_a_kernel_may_not_have_the_seeds_name_in_any_mode(tmp_path: Path) -> None:
    merged = {"paths": [str(tmp_path / "x")], "merge": {"seed": ["a"], "b": ["c"]}}
    (tmp_path / "x").mkdir()
    for changes in ({"corpus": merged}, {"name": "seed", "mode": "synchronized"}):
        stages = {"branch_stage": None} if "mode" in changes else {}
        wanted = recipe(tmp_path / "x", **changes, **stages)
        with pytest.raises(ConfigError, match="'seed', which is taken"):
            train(wanted, tmp_path / "out", trainer=nobody)
    assert not (tmp_path / "out").exists()
