"""Training in a folder that holds a run already: what joined stays, what is not ours is left."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.growth import forget, join, leave, make_kernel
from constellation.errors import (
    ArtifactError,
    ConfigError,
    TrainingError,
)
from constellation.kernel.checkpoint import load_kernel, save_kernel
from constellation.records import KernelSite
from constellation.routing.growth import retire_kernel, spawn_kernel
from constellation.wire.run_lock import owned
from constellation.wire.table_file import load_table, save_table
from tests.support.hugging_face import build_model, qwen2
from tests.training.test_growth import FORGE, STOCKS, write
from tests.training.test_pipeline import alone, done_again, recipe
from training.growth import train_new
from training.kept_text import kept_text
from training.loop.step import Alone
from training.pipeline import train
from training.progress.events import Event, Notice, OnEvent, ignore
from training.recipe import Recipe
from training.report.writing import write_report
from training.runs.branch import train_kernel, train_share
from training.runs.training_plan import SEED, TrainingPlan
from training.validation.run import validate_gates, validate_run


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for domain, stock in STOCKS.items():
        write(folder / domain, stock)
    return folder


@pytest.fixture(scope="module")
def grown(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with a kernel added by training and one of Hugging Face. Do not change it."""
    folder = tmp_path_factory.mktemp("grown")
    out = train(recipe(text), folder / "out", trainer=alone).out
    write(folder / "forge", FORGE)
    join(out, train_new(out, "forge", folder / "forge", trainer=alone), None)
    build_model(folder / "model", partial(qwen2, context=256), seed=3)
    join(out, make_kernel(out, "guest", folder / "model", folder / "forge", ignore), None)
    return out


@pytest.fixture
def out(grown: Path, tmp_path: Path) -> Path:
    shutil.copytree(grown, tmp_path / "out")
    return tmp_path / "out"


BRANCH = {"steps": 6, "batch_size": 2, "learning_rate": 1e-2, "warmup_steps": 2}


def sites(out: Path) -> dict[str, KernelSite]:
    return {site.name: site for site in load_table(out / "table.msgpack").sites}


def notices(wanted: Recipe, out: Path) -> str:
    """Train and return what was noticed on the way."""
    events: list[Event] = []
    train(wanted, out, events.append, trainer=alone)
    return "\n".join(event.text for event in events if isinstance(event, Notice))


def state(out: Path) -> dict[str, bytes]:
    """Return the content of all files of a run but its logs."""
    logs = ("metrics.jsonl", "training.log", "status.json", "budget.json")
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in logs and "tensorboard" not in path.parts
    }


def nobody(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
    raise AssertionError("nothing is trained")


# --- what joined ----------------------------------------------------------------------------------


def test_kernels_that_joined_stay_in_the_table_when_the_run_is_trained_again(
    text: Path, out: Path
) -> None:
    before, table = sites(out), load_table(out / "table.msgpack")
    told = notices(recipe(text, branch_stage=BRANCH), out)
    after = sites(out)
    assert "kept in the table, as they were: forge, guest" in told
    assert list(after) == list(before)
    assert load_kernel(out / "kernels" / "sea").facts["steps"] == 6
    for name in ("forge", "guest"):
        assert after[name].basin_K.tobytes() == before[name].basin_K.tobytes()
        assert after[name].radii == before[name].radii
        assert after[name].seat == before[name].seat
    assert load_table(out / "table.msgpack").version > table.version
    leave(out, "forge", None)
    assert list(sites(out)) == [name for name in before if name != "forge"]


def test_a_spawned_kernel_stays_and_owes_its_parent_nothing_any_more(text: Path, out: Path) -> None:
    table = load_table(out / "table.msgpack")
    parent = sites(out)["sea"]
    halves = [site.basin_K for site in table.sites if site.name in ("sea", "bake")] * 8
    shutil.copytree(out / "kernels" / "sea", out / "kernels" / "shore")
    (out / "kernels" / "shore" / "spawned_from").write_text("sea\n")
    save_table(out / "table.msgpack", spawn_kernel(table, "sea", "shore", np.stack(halves)))
    train(recipe(text, branch_stage=BRANCH), out, trainer=alone)
    after = sites(out)
    assert "shore" in after
    assert after["shore"].split is None
    assert after["sea"].basin_K.tobytes() == parent.basin_K.tobytes()
    gone = retire_kernel(load_table(out / "table.msgpack"), "shore")
    assert {site.name for site in gone.sites} == set(after) - {"shore"}


def test_what_was_unlearned_stays_unlearned(text: Path, out: Path) -> None:
    learned = kept_text(out, "sea")
    assert learned is not None
    source = learned.train[0].source
    forget(out, "sea", source, None)
    basin = sites(out)["sea"].basin_K.tobytes()
    train(recipe(text, branch_stage=BRANCH), out, trainer=alone)
    assert sites(out)["sea"].unlearned == (source,)
    assert sites(out)["sea"].basin_K.tobytes() == basin


@pytest.mark.parametrize("how", ["text", "vocabulary", "seed"])
def test_a_change_that_they_would_not_fit_is_refused_before_it_begins(
    text: Path, out: Path, tmp_path: Path, how: str
) -> None:
    changed: dict[str, Any] = {
        "vocabulary": {"coordizer": {"vocab_size": 300}},
        "seed": {"seed": 5},
    }
    wanted = recipe(text, **changed.get(how, {}))
    if how == "text":
        shutil.copytree(text, tmp_path / "text")
        write(tmp_path / "text" / "forge", FORGE)
        wanted = recipe(tmp_path / "text")
    before = state(out)
    with pytest.raises(ConfigError, match=r"would not fit any more: forge, guest; .*--out"):
        train(wanted, out, trainer=nobody)
    assert state(out) == before
    for name in ("forge", "guest"):
        leave(out, name, None)
    train(wanted, out, trainer=alone)
    # Each way that the messages name brings them back under the new coordizer.
    if how != "text":  # where a kernel of that name is the run's own by now
        with pytest.raises(ArtifactError, match=r"constellation add forge .*added/forge"):
            make_kernel(out, "forge", out / "kernels" / "forge", None, ignore)
        join(out, train_new(out, "forge", out / "added" / "forge", trainer=alone), None)
    join(out, make_kernel(out, "guest", out / "kernels" / "guest", None, ignore), None)


def test_text_that_is_only_newer_is_no_change(text: Path, out: Path, tmp_path: Path) -> None:
    shutil.copytree(text, tmp_path / "text")
    (tmp_path / "text" / "sea" / "0.txt").touch()
    train(recipe(tmp_path / "text"), out, trainer=nobody)
    assert {"forge", "guest"} <= set(sites(out))


def test_figures_are_of_the_runs_own_kernels_and_name_the_others(text: Path, out: Path) -> None:
    result = train(recipe(text, branch_stage=BRANCH), out, trainer=alone)
    assert result.kernels == tuple(sorted(STOCKS))
    assert result.report["joined_since"] == ["forge", "guest"]
    routed = [row["routed_to"] for row in result.report["held_out"]["domains"].values()]
    assert set().union(*routed) <= set(STOCKS)
    shown = write_report(out).path.read_text()
    assert "since they joined after the training: forge, guest" in shown
    assert "guest writes none here: a Hugging Face model, with tokens of its own" in shown


def test_a_report_names_what_joined_after_it(out: Path) -> None:
    """Without a training in between: the kernels joined after `report.json` was written."""
    assert write_report(out).summary["joined_since"] == ["forge", "guest"]


def test_the_checks_of_a_run_pass_over_a_model_with_tokens_of_its_own(out: Path) -> None:
    report = validate_run(out)
    guest = {check.name: check for check in report.groups["guest"]}
    assert guest["files and hash"].passed is True
    assert guest["vocabulary"].passed is None
    assert "tokens of its own" in guest["vocabulary"].detail
    assert {check.name for check in report.groups["forge"]} > {"better than unigrams"}
    gates = {check.name: check for check in validate_gates(out).groups["gate 2"]}
    assert gates["integration of guest"].passed is None
    weights = out / "kernels" / "guest" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert validate_run(out).groups["guest"][0].passed is False


def test_a_kernel_that_was_removed_is_looked_at_no_more(out: Path) -> None:
    """Its folder stays, and neither a report nor a check goes through it."""
    for name in ("guest", "forge"):
        leave(out, name, None)
    (out / "kernels" / "guest" / "config.json").write_text("{")
    assert not {"guest", "forge"} & set(validate_run(out).groups)
    samples = write_report(out).summary["samples"]
    assert {sample["kernel"] for sample in samples["samples"]} == set(STOCKS)
    assert samples["left_out"] == {}


# --- what lies in the folder ----------------------------------------------------------------------


def test_what_is_not_ours_is_left_and_named(text: Path, out: Path) -> None:
    kernels = out / "kernels"
    for name in ("notes.txt", ".DS_Store"):
        (kernels / name).write_text("mine")
    shutil.copytree(kernels / "sea", kernels / "sea-backup")
    told = notices(recipe(text, branch_stage=BRANCH), out)
    assert "not of this run: .DS_Store, notes.txt, sea-backup" in told
    assert (kernels / "notes.txt").read_text() == "mine"
    assert load_kernel(kernels / "sea-backup").facts["steps"] == 30


def test_of_a_kernel_that_is_not_trained_any_more_only_its_own_files_go(
    text: Path, out: Path, tmp_path: Path
) -> None:
    for name in ("forge", "guest"):
        leave(out, name, None)
    shutil.copytree(text, tmp_path / "text")
    shutil.rmtree(tmp_path / "text" / "stars")
    (out / "kernels" / "stars" / "diary.txt").write_text("mine")
    train(recipe(tmp_path / "text"), out, trainer=alone)
    assert [path.name for path in (out / "kernels" / "stars").iterdir()] == ["diary.txt"]
    assert {"forge", "guest"} <= {path.name for path in (out / "kernels").iterdir()}


def test_a_report_names_the_recipe_of_its_run(text: Path, out: Path) -> None:
    train(recipe(text), out, trainer=alone)
    assert done_again(text, out, name="renamed", workers={"num_workers": 1}) == []
    made_by = [
        json.loads((out / name).read_text())["recipe"] for name in ("report.json", "run.json")
    ]
    assert made_by[0] == made_by[1]
    assert made_by[0]["name"] == "renamed"
    assert done_again(text, out, name="renamed", workers={"num_workers": 1}) == []


# --- only what decides ----------------------------------------------------------------------------


def test_a_change_of_branches_leaves_the_seed_as_it_is(text: Path, out: Path) -> None:
    seed = (out / "seed" / "weights.safetensors").stat().st_mtime_ns
    trained: list[str] = []

    def watched(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
        assert train_share(plan, Alone(), on_progress=lambda e: trained.append(e.kernel))  # type: ignore[union-attr]

    for changes in ({"branch_stage": BRANCH}, {"branch_stage": {**BRANCH, "replay_share": 0.2}}):
        train(recipe(text, **changes), out, trainer=watched)
        assert set(trained) == set(STOCKS)
        trained.clear()
    assert (out / "seed" / "weights.safetensors").stat().st_mtime_ns == seed
    assert not (out / "checkpoints").exists()


def test_replay_alone_does_not_make_the_coordizer_again(text: Path, out: Path) -> None:
    done = done_again(text, out, branch_stage={**BRANCH, "replay_share": 0.3})
    assert done == ["replay", "kernels", "table", "report"]


def test_how_much_is_kept_trains_nothing_again(text: Path, out: Path) -> None:
    train(recipe(text), out, trainer=alone)
    kept = {"keep_last": 5, "keep_finished": True}
    assert done_again(text, out, checkpoints=kept) == []


# --- two in one folder ----------------------------------------------------------------------------


def test_a_second_training_in_a_folder_is_refused(text: Path, out: Path, tmp_path: Path) -> None:
    write(tmp_path / "law", FORGE)
    asked = (
        lambda: train(recipe(text, seed=7), out, trainer=nobody),
        lambda: train_new(out, "law", tmp_path / "law", trainer=nobody),
        lambda: leave(out, "forge", None),
        lambda: forget(out, "sea", "0.txt", None),
    )
    before = state(out)
    with owned(out, "a training", TrainingError):
        for call in asked:
            with pytest.raises(TrainingError, match=r"a training runs in this folder, process \d+"):
                call()  # type: ignore[no-untyped-call]
    assert {k: v for k, v in state(out).items() if k != ".lock"} == {
        k: v for k, v in before.items() if k != ".lock"
    }


def test_the_folder_is_held_while_kernels_are_trained(text: Path, tmp_path: Path) -> None:
    def intruding(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
        with pytest.raises(TrainingError, match="a training runs in this folder"):
            train(recipe, tmp_path / "out", trainer=nobody)
        alone(plan, recipe, on_event)

    train(recipe(text), tmp_path / "out", trainer=intruding)


def test_a_kernel_that_grew_from_another_seed_is_made_again(text: Path, out: Path) -> None:
    stranger = load_kernel(out / "kernels" / "bake")
    folder = out / "kernels" / "sea"
    loaded = load_kernel(folder)
    good = loaded.weights_hash
    facts = {**loaded.facts, "base_sha256": stranger.weights_hash}
    save_kernel(folder, stranger.decoder, tokenizer_hash=loaded.tokenizer_hash, facts=facts)
    train(recipe(text), out, trainer=alone)
    assert load_kernel(folder).weights_hash == good


def test_branches_do_not_grow_from_a_seed_that_was_exchanged(text: Path, tmp_path: Path) -> None:
    """And nobody is told that the training was stopped."""

    def exchanged(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
        assert train_kernel(plan, SEED, Alone())
        seed = load_kernel(plan.kernel_folder(SEED))
        facts = {**seed.facts, "run_key": "f" * 64}
        save_kernel(
            plan.kernel_folder(SEED), seed.decoder, tokenizer_hash=seed.tokenizer_hash, facts=facts
        )
        for name in plan.kernels:
            with pytest.raises(TrainingError, match="the seed of another training"):
                train_kernel(plan, name, Alone())

    with pytest.raises(TrainingError, match="is not of this training") as refused:
        train(recipe(text), tmp_path / "out", trainer=exchanged)
    assert "stopped" not in str(refused.value)
