"""The whole way on three tiny domains, with one worker and without Ray."""

import itertools
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ConfigError, CorpusError
from constellation.kernel.files.checkpoint import load_kernel
from constellation.releases.builder import DOMAINS
from constellation.releases.store import ReleaseStore
from constellation.wire.table_file import load_table
from training.evaluation.held_out_figures import (
    ScoredDocument,
    bits_per_byte,
    summarise,
    unigram_nats,
)
from training.loop.step import Alone
from training.pipeline import TrainingResult, train
from training.progress.events import (
    CorpusRead,
    Event,
    KernelProgress,
    Notice,
    OnEvent,
    PartFinished,
    ignore,
)
from training.recipe import Recipe
from training.recipe_corpus import CorpusSection
from training.runs.training_plan import TrainingPlan
from training.runs.worker import train_share
from training.text_preparation import corpus_inputs

pytestmark = pytest.mark.slow


STOCKS = {
    "sea": "wave tide salt harbour anchor gull keel drift storm sail".split(),  # noqa: SIM905
    "bake": "flour yeast oven crust knead rise butter loaf sugar salt".split(),  # noqa: SIM905
    "stars": "orbit comet lens dust nebula pulsar light drift mass ring".split(),  # noqa: SIM905
}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    source = random.Random(0)
    for domain, stock in STOCKS.items():
        (folder / domain).mkdir()
        for i in range(12):
            lines = (" ".join(source.choices(stock, k=9)) for _ in range(30))
            (folder / domain / f"{i}.txt").write_text("\n".join(lines) + "\n")
    return folder


def recipe(text: Path, **changes: object) -> Recipe:
    values: dict[str, object] = {
        "name": "tiny",
        "corpus": {"paths": [str(text)]},
        "coordizer": {"vocab_size": 320},
        "kernel": {"width": 16, "num_layers": 1, "num_heads": 2, "mlp_width": 32, "context": 128},
        "seed_stage": {"steps": 60, "batch_size": 4, "learning_rate": 1e-2},
        "branch_stage": {"steps": 30, "batch_size": 2, "learning_rate": 1e-2, "warmup_steps": 2},
    }
    return Recipe.model_validate({**values, **changes})


def alone(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
    assert train_share(TrainingPlan.from_dict(json.loads(json.dumps(plan.to_dict()))), Alone())


@pytest.fixture(scope="module")
def finished(text: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(recipe(text), tmp_path_factory.mktemp("run") / "out", trainer=alone)


@pytest.fixture
def copied(finished: TrainingResult, tmp_path: Path) -> Path:
    shutil.copytree(finished.out, tmp_path / "out")
    return tmp_path / "out"


def done_again(text: Path, out: Path, **changes: object) -> list[str]:
    """Run again and return the parts that were not skipped."""
    events: list[Event] = []
    train(recipe(text, **changes), out, events.append, trainer=alone)
    return [e.part for e in events if isinstance(e, PartFinished) and not e.skipped]


def test_it_says_what_was_read_also_when_the_corpus_is_still_valid(
    text: Path, copied: Path
) -> None:
    for _ in range(2):
        events: list[Event] = []
        train(recipe(text), copied, events.append, trainer=alone)
        (told,) = [event.lines for event in events if isinstance(event, CorpusRead)]
        assert told[0].startswith("read: 36 files, ")
        assert told[-1].startswith("prepared: ")


def test_a_change_behind_a_linked_folder_is_noticed(text: Path, tmp_path: Path) -> None:
    shutil.copytree(text / "sea", tmp_path / "elsewhere")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "sea").symlink_to(tmp_path / "elsewhere")
    section = CorpusSection(paths=(tmp_path / "corpus",))
    before = corpus_inputs(section, seed=0)
    assert len(before["files"]) == 12  # type: ignore[arg-type]
    (tmp_path / "elsewhere" / "new.txt").write_text("words")
    assert corpus_inputs(section, seed=0) != before


def test_text_that_would_stay_unread_stops_the_run_before_anything_is_made(
    text: Path, tmp_path: Path
) -> None:
    shutil.copytree(text, tmp_path / "text")
    (tmp_path / "text" / "sea" / "big.txt").write_text("wave " * 10_000)
    changed = {"paths": [str(tmp_path / "text")], "file_bytes_max": 40_000}
    with pytest.raises(CorpusError, match=r"sea/big\.txt \(50\.0 kB\): over the limit of corpus"):
        train(recipe(text, corpus=changed), tmp_path / "out", trainer=alone)
    assert not (tmp_path / "out" / "corpus").exists()
    assert not (tmp_path / "out" / "coordizer").exists()


def test_it_leaves_kernels_a_table_and_a_coordizer_that_fit_together(
    finished: TrainingResult,
) -> None:
    assert finished.kernels == ("bake", "sea", "stars")
    coordizer = Coordizer.load(finished.out / "coordizer")
    table = load_table(finished.out / "table.msgpack")
    assert table.coordizer_hash == coordizer.hash
    assert [site.name for site in table.sites] == list(finished.kernels)
    assert len({site.seat for site in table.sites}) == 3
    for name in (*finished.kernels, "seed"):
        folder = finished.out / ("seed" if name == "seed" else f"kernels/{name}")
        assert load_kernel(folder).tokenizer_hash == coordizer.tokenizer_hash
    assert not (finished.out / "checkpoints").exists()


def test_kernels_learn_their_domain_and_routes_find_them(finished: TrainingResult) -> None:
    held_out = finished.report["held_out"]
    bits = held_out["bits_per_byte"]
    assert bits["constellation"] < bits["seed"] < bits["unigram"]
    assert held_out["routing_accuracy"] > 0.8
    assert held_out["num_documents"] >= 3
    assert held_out["num_documents"] < 8  # too few for an interval
    assert held_out["seed_minus_constellation_ci95"] is None


def test_a_finished_run_only_reads(text: Path, copied: Path) -> None:
    assert done_again(text, copied) == []


@pytest.mark.parametrize(
    ("damaged", "redone"),
    [
        ("kernels/sea/weights.safetensors", ["kernels"]),
        ("coordizer/tokenizer.json", ["coordizer"]),
        ("table.msgpack", ["table"]),
        ("texts/sea.msgpack", ["table"]),
        ("report.json", ["report"]),
        ("ledger.json", ["corpus", "coordizer", "kernels", "table", "release", "report"]),
    ],
)
def test_a_damaged_file_is_made_again_and_nothing_that_is_whole(
    text: Path, copied: Path, damaged: str, redone: list[str]
) -> None:
    before = {name: load_kernel(copied / "kernels" / name).weights_hash for name in STOCKS}
    served = ReleaseStore(copied).read_current()
    path = copied / damaged
    path.write_bytes(path.read_bytes()[:-7])
    done = done_again(text, copied)
    assert done == redone
    after = {name: load_kernel(copied / "kernels" / name).weights_hash for name in STOCKS}
    assert after == before
    again = ReleaseStore(copied).read_current()
    assert (again.table, again.kernels) == (served.table, served.kernels)
    assert again == served or "coordizer" in redone, "only its files hold times"


def test_a_changed_recipe_trains_again_from_the_first_part_it_touches(
    text: Path, copied: Path
) -> None:
    branch = {"steps": 4, "batch_size": 2, "learning_rate": 1e-2, "warmup_steps": 2}
    assert done_again(text, copied, branch_stage=branch) == [
        "kernels",
        "table",
        "release",
        "report",
    ]
    assert load_kernel(copied / "kernels" / "sea").facts["steps"] == 4


def test_workers_alone_do_not_make_a_run_stale(text: Path, copied: Path) -> None:
    assert done_again(text, copied, workers={"num_workers": 1, "threads": 1}) == []


def test_a_changed_text_starts_from_the_corpus(text: Path, copied: Path, tmp_path: Path) -> None:
    (copied / "kernels" / "left").mkdir()
    (copied / DOMAINS).mkdir()
    (copied / DOMAINS / "left.msgpack").write_bytes(b"by which it comes back")
    other = tmp_path / "text"
    shutil.copytree(text, other)
    shutil.rmtree(other / "stars")
    events: list[Event] = []
    train(recipe(other), copied, events.append, trainer=alone)
    done = [e.part for e in events if isinstance(e, PartFinished) and not e.skipped]
    assert done == ["corpus", "coordizer", "kernels", "table", "release", "report"]
    assert not [event for event in events if isinstance(event, Notice)], "it left, and is known"
    assert [each.name for each in ReleaseStore(copied).read_current().kernels] == ["bake", "sea"]
    assert {path.name for path in (copied / "kernels").iterdir()} == {"bake", "sea", "left"}


@pytest.mark.parametrize("stop_after", [5, 70, 110])
def test_a_stopped_run_resumes_to_the_same_weights(
    text: Path, finished: TrainingResult, tmp_path: Path, stop_after: int
) -> None:
    asked = itertools.count()

    def stopping(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
        if not train_share(plan, Alone(), should_stop=lambda: next(asked) == stop_after):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe(text), tmp_path / "out", trainer=stopping)
    train(recipe(text), tmp_path / "out", trainer=alone)
    for name in STOCKS:
        one, two = (load_kernel(out / "kernels" / name) for out in (finished.out, tmp_path / "out"))
        assert one.weights_hash == two.weights_hash


def test_progress_is_logged_line_by_line_and_as_a_status(text: Path, tmp_path: Path) -> None:
    def told(plan: TrainingPlan, recipe: Recipe, on_event: OnEvent) -> None:
        train_share(plan, Alone(), on_progress=on_event)

    events: list[Event] = []
    train(recipe(text), tmp_path, events.append, trainer=told)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == len(events)
    last = {e.kernel: e for e in events if isinstance(e, KernelProgress)}
    assert set(last) == {"seed", *STOCKS}
    for progress in last.values():
        assert progress.step == progress.num_steps
        assert progress.eta_s == 0
        assert 0 < progress.bits_per_byte < progress.loss_bits
        assert progress.dev_bits_per_byte is not None
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["part"] == ""
    assert set(status["kernels"]) == set(last)


@pytest.mark.parametrize(
    ("folders", "error", "message"),
    [
        ({"sea": "sea"}, CorpusError, "two domains or more"),
        ({"sea": "seed", "bake": "bake"}, ConfigError, "'seed', which is taken"),
    ],
)
def test_text_that_makes_no_constellation_is_refused(
    text: Path, tmp_path: Path, folders: dict[str, str], error: type[Exception], message: str
) -> None:
    for source, target in folders.items():
        shutil.copytree(text / source, tmp_path / "text" / target)
    with pytest.raises(error, match=message):
        train(recipe(tmp_path / "text"), tmp_path / "out", ignore, trainer=alone)


def test_the_unigram_model_sums_to_one_and_counts_every_token() -> None:
    nats = unigram_nats(np.array([0, 0, 2], dtype=np.int32), 4)
    assert np.exp(-nats) == pytest.approx([3 / 7, 1 / 7, 2 / 7, 1 / 7])


def test_bits_per_byte_weigh_bytes_not_documents() -> None:
    scored = [
        ScoredDocument(
            domain=domain,
            routed_to="a",
            num_bytes=size,
            nats=dict.fromkeys(("constellation", "seed", "unigram", "oracle_label"), nats),
        )
        for domain, size, nats in (("a", 30, 30 * np.log(2)), ("b", 10, 50 * np.log(2)))
    ]
    assert bits_per_byte(scored, "seed") == pytest.approx(2.0)
    summary = summarise(scored)
    assert summary["routing_accuracy"] == 0.5
    assert summary["seed_minus_constellation_ci95"] is None
    assert summarise(4 * scored)["seed_minus_constellation_ci95"] == [0.0, 0.0]
    intervals = [name for name in summary if name.endswith("_ci95") and summary[name]]
    assert intervals == []


def test_replay_makes_kernels_forget_less_of_the_other_domains(
    text: Path, finished: TrainingResult, tmp_path: Path
) -> None:
    branch = {"steps": 30, "batch_size": 2, "learning_rate": 1e-2, "warmup_steps": 2}
    wanted = recipe(text, branch_stage={**branch, "replay_share": 0.4})
    result = train(wanted, tmp_path / "out", trainer=alone)
    own, others = (
        len(np.load(result.out / "tokens" / f"sea.{split}.npy")) for split in ("train", "replay")
    )
    assert others / (own + others) == pytest.approx(0.4, abs=0.05)
    assert elsewhere(result) < elsewhere(finished)


def elsewhere(result: TrainingResult) -> float:
    """Return the kernels' mean bits per byte on domains that are not their own."""
    across = result.report["across"]["bits_per_byte"]
    return float(
        np.mean(
            [
                bits
                for kernel, row in across.items()
                if kernel != "seed"
                for domain, bits in row.items()
                if domain != kernel
            ]
        )
    )
