"""Training in a folder that holds a run already: what joined stays, what is not ours is left."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.kernel_changes import join, make_kernel
from constellation.coordizer.coordizer import Coordizer
from constellation.domains.record_file import pack_domain
from constellation.errors import (
    ArtifactError,
    ConfigError,
    TrainingError,
)
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.records import FloatArray, Spawn
from constellation.releases.builder import make
from constellation.releases.store import ReleaseStore
from constellation.wire.run_lock import owned
from tests.support.hugging_face import build_model, qwen2
from tests.training.served import back, bits, content, forget, kernel, leave, record, release, sites
from tests.training.test_growth import FORGE, STOCKS, write
from tests.training.test_pipeline import alone, done_again, recipe
from training.kernel_text import kept_text
from training.loop.step import Alone
from training.new_kernel import train_new
from training.pipeline import train
from training.progress.events import Event, Notice, OnEvent, ignore
from training.recipe import Recipe
from training.runs.training_plan import SEED, TrainingPlan
from training.runs.worker import train_kernel, train_share

pytestmark = pytest.mark.slow


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


def spawn(out: Path, parent: str, child: str) -> None:
    """Share a kernel's queries with a new one; the queries are lines of its own documents."""
    coordizer = Coordizer.load(ReleaseStore(out).current_folder() / "coordizer")
    learned = kept_text(out, parent)
    assert learned is not None
    queries_NK: FloatArray = np.stack(
        [
            coordizer.basin(coordizer.encode(d.text[start::2]))
            for d in learned.train
            for start in (0, 1)
        ]
    )
    queries_NK = np.concatenate([queries_NK] * 2)
    after = make(out, Spawn(parent=parent, name=child, queries_NK=queries_NK))
    ReleaseStore(out).switch(after.version)


def test_kernels_that_joined_stay_when_the_run_is_trained_again(text: Path, out: Path) -> None:
    before = release(out)
    placed = {name: bits(out, name) for name in ("forge", "guest")}
    told = notices(recipe(text, branch_stage=BRANCH), out)
    after = release(out)
    assert "still served, as they were: forge, guest" in told
    assert [each.name for each in after.kernels] == [each.name for each in before.kernels]
    assert after.parent == before.version
    assert load_kernel(out / "kernels" / "sea").facts["steps"] == 6
    assert kernel(out, "sea") != before.kernel("sea")
    for name in ("forge", "guest"):
        assert kernel(out, name) == before.kernel(name), "files and record of text"
        assert bits(out, name) == placed[name]
    leave(out, "forge")
    assert list(sites(out)) == [each.name for each in before.kernels if each.name != "forge"]


def test_what_joined_leaves_no_trace_when_it_leaves_after_another_training(
    text: Path, out: Path, tmp_path: Path
) -> None:
    train(recipe(text, branch_stage=BRANCH), out, trainer=alone)
    for name in ("forge", "guest"):
        leave(out, name)
    train(recipe(text, branch_stage=BRANCH), tmp_path / "straight", trainer=alone)
    one, two = release(out), release(tmp_path / "straight")
    assert one.table == two.table
    assert [each.domain for each in one.kernels] == [each.domain for each in two.kernels]


def test_a_spawned_kernel_stays_with_its_share_and_gives_it_back(text: Path, out: Path) -> None:
    before = bits(out, "sea")
    spawn(out, "sea", "shore")
    share = sites(out)["shore"].share
    child = kernel(out, "shore")
    train(recipe(text, branch_stage=BRANCH), out, trainer=alone)
    assert kernel(out, "shore") == child
    stays = sites(out)["shore"].share
    assert share is not None
    assert stays is not None
    assert (stays.family, stays.basin_K.tobytes()) == (share.family, share.basin_K.tobytes())
    assert sites(out)["sea"].basin_K.tobytes() == sites(out)["shore"].basin_K.tobytes()
    leave(out, "shore")
    train(recipe(text), out, trainer=alone)
    assert bits(out, "sea") == before, "the gauge of its first weights, too"


def test_what_was_unlearned_stays_unlearned(text: Path, out: Path) -> None:
    learned = kept_text(out, "sea")
    assert learned is not None
    source = learned.train[0].source
    forget(out, "sea", source)
    basin, known = sites(out)["sea"].basin_K.tobytes(), record(out, "sea")
    train(recipe(text, branch_stage=BRANCH), out, trainer=alone)
    again = record(out, "sea")
    assert again.unlearned == (source,)
    assert pack_domain(replace(again, phi_gauge=known.phi_gauge)) == pack_domain(known)
    assert sites(out)["sea"].basin_K.tobytes() == basin


def test_what_a_kernel_that_left_had_unlearned_stays_unlearned_when_it_is_made_again(
    text: Path, out: Path
) -> None:
    """A model with tokens of its own comes back under other coordinates, and its text anew."""
    learned = kept_text(out, "guest")
    assert learned is not None
    forget(out, "guest", learned.train[0].source)
    for name in ("forge", "guest"):
        leave(out, name)
    train(recipe(text, coordizer={"vocab_size": 300}), out, trainer=alone)
    back(out, "guest")
    assert record(out, "guest").unlearned == (learned.train[0].source,)
    assert learned.train[0].source not in record(out, "guest").train.sources


def test_a_training_that_ended_before_its_release_loses_nothing_and_keeps_nothing(
    text: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernels are others by then, and what is served is still what was."""
    for name in ("forge", "guest"):
        leave(out, name)
    before = content(out)
    shutil.copytree(text, tmp_path / "text")
    shutil.rmtree(tmp_path / "text" / "stars")

    def ended(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.joined_kernels.publish", ended)
        with pytest.raises(KeyboardInterrupt):
            train(recipe(tmp_path / "text"), out, trainer=alone)
    assert content(out) == before
    train(recipe(tmp_path / "text"), out, trainer=nobody)
    assert [each.name for each in release(out).kernels] == ["bake", "sea"]


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
        leave(out, name)
    train(wanted, out, trainer=alone)
    # Each way that the messages name brings them back under the new coordizer.
    if how == "seed":  # the tokens stayed, and with them what the record says
        back(out, "forge")
    if how == "vocabulary":  # with "text" a kernel of that name is the run's own by now
        with pytest.raises(ArtifactError, match=r"constellation add forge .*added/forge"):
            make_kernel(out, "forge", out / "kernels" / "forge", None, ignore)
        join(out, train_new(out, "forge", out / "added" / "forge", trainer=alone), None)
    back(out, "guest")
    assert "guest" in sites(out)


def test_text_that_is_only_newer_is_no_change(text: Path, out: Path, tmp_path: Path) -> None:
    shutil.copytree(text, tmp_path / "text")
    (tmp_path / "text" / "sea" / "0.txt").touch()
    train(recipe(tmp_path / "text"), out, trainer=nobody)
    assert {"forge", "guest"} <= set(sites(out))


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
        leave(out, name)
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
    assert done == ["replay", "kernels", "table", "release", "report"]


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
        lambda: leave(out, "forge"),
        lambda: forget(out, "sea", "0.txt"),
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
