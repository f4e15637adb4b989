"""Kernels leave and are taken back: every bit is what it was, however often."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from cluster.kernel_changes import join, list_sources, make_kernel
from constellation.curricula.corpus_store import load_prepared
from constellation.curricula.prepare import PreparedCorpus
from constellation.domains.record_file import pack_domain
from constellation.errors import (
    ArtifactError,
    ConfigError,
    CorpusError,
    IncompatibleKernels,
)
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.releases.builder import domain_path
from tests.support.hugging_face import build_model, qwen2
from tests.training.served import back, bits, content, forget, kernel, leave, record, sites
from tests.training.test_growth import FORGE, STOCKS, alone, artifacts, files, trained, write
from training.kernel_text import kept_text, prepared_text
from training.new_kernel import train_new
from training.progress.events import ignore

pytestmark = pytest.mark.slow


__all__ = ["artifacts", "trained"]  # fixtures


@pytest.fixture
def law(artifacts: Path, tmp_path: Path) -> Path:
    """Return artifacts to which a kernel `law` was added by training, from text beside them."""
    write(tmp_path / "law", FORGE, files=14)
    join(artifacts, train_new(artifacts, "law", tmp_path / "law", trainer=alone), None)
    return artifacts


def kept(artifacts: Path, name: str) -> dict[str, str]:
    """Return the hash of every file of a kernel but the record, which a removal writes."""
    return {
        path: digest
        for path, digest in files(artifacts).items()
        if f"/{name}/" in f"/{path}" or path == f"texts/{name}.msgpack"
    }


@pytest.mark.parametrize("name", ["law", "sea"])
def test_any_number_of_rounds_changes_no_bit(law: Path, name: str) -> None:
    """Of a kernel that was added, and of one of the run itself; and of all others, in between."""
    before, documents = content(law), kept(law, name)
    without = set()
    for _ in range(4):
        leave(law, name)
        without.add(content(law))
        added = back(law, name)
        assert content(law) == before
        assert kept(law, name) == documents
    assert len(without) == 1
    learned = kept_text(law, name)
    assert learned is not None
    assert added.kernel.num_documents == len(learned.train)
    assert added.own is not None


def test_all_but_one_leave_and_come_back_in_another_order(law: Path) -> None:
    before = content(law)
    names = [*STOCKS, "law"]
    for name in names[1:]:
        leave(law, name)
    for name in names[:0:-1]:
        back(law, name)
    assert content(law) == before


@pytest.mark.parametrize("name", ["law", "sea"])
@pytest.mark.parametrize("part", ["", "train.jsonl"])
def test_text_that_the_run_keeps_is_not_split_again(law: Path, name: str, part: str) -> None:
    """The command that the documents named before has the same end."""
    home = law / "added" / "law" if name == "law" else law / "corpus"
    before, documents = content(law), files(home)
    for _ in range(2):
        leave(law, name)
        back(law, name, home / part)
        assert content(law) == before
        assert files(home) == documents
    assert not (law / "added" / "sea").exists()


def test_a_kernel_whose_record_is_lost_is_made_of_its_kept_text(law: Path) -> None:
    for name in ("law", "sea"):
        before, learned = sites(law)[name], record(law, name)
        leave(law, name)
        domain_path(law, name).unlink()
        back(law, name)
        again = record(law, name)
        assert [each.tokens_T.tobytes() for each in (again.train, again.dev)] == [
            each.tokens_T.tobytes() for each in (learned.train, learned.dev)
        ]
        after = sites(law)[name]
        assert (after.basin_K.tobytes(), after.seat) == (before.basin_K.tobytes(), before.seat)
        assert after.radii == before.radii


def test_what_was_unlearned_stays_unlearned_and_the_rest_can_still_go(law: Path) -> None:
    first, second, *_ = (source.name for source in list_sources(law, "law"))
    forget(law, "law", first)
    before = content(law)
    leave(law, "law")
    back(law, "law")
    assert content(law) == before
    forget(law, "law", second)
    assert record(law, "law").unlearned == (first, second)
    told = {source.name: source.unlearned for source in list_sources(law, "law")}
    assert {name for name, gone in told.items() if gone} == {first, second}


def test_names_of_sources_stay_those_of_the_files(law: Path) -> None:
    names = {source.name for source in list_sources(law, "law")}
    assert names < {f"{number}.txt" for number in range(14)}
    leave(law, "law")
    back(law, "law")
    assert {source.name for source in list_sources(law, "law")} == names


def test_training_again_from_kept_text_trains_nothing(law: Path) -> None:
    def nobody(*_: object) -> None:
        raise AssertionError("it is finished")

    before, documents = content(law), kept(law, "law")
    leave(law, "law")
    join(law, train_new(law, "law", law / "added" / "law", trainer=nobody), None)
    assert content(law) == before
    assert kept(law, "law") == documents


def test_a_model_of_transformers_is_taken_back(law: Path, tmp_path: Path) -> None:
    build_model(tmp_path / "model", partial(qwen2, context=256), seed=3)
    new = make_kernel(law, "guest", tmp_path / "model", tmp_path / "law", ignore)
    join(law, new, None)
    before, documents = content(law), kept(law, "guest")
    leave(law, "guest")
    back(law, "guest")
    assert content(law) == before
    forget(law, "guest", list_sources(law, "guest")[0].name)
    assert content(law) != before
    leave(law, "guest")
    make_kernel(law, "guest", law / "kernels" / "guest", tmp_path / "law", ignore)  # anew
    join(law, make_kernel(law, "guest", law / "kernels" / "guest", None, ignore), None)
    assert content(law) == before
    assert kept(law, "guest") == documents


def test_prepared_text_of_another_run_stays_split_as_it_was(law: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(law / "added" / "law", tmp_path / "copied")
    before = load_prepared(elsewhere)
    found = prepared_text(elsewhere, law, "code")
    assert found is not None

    def shown(corpus: PreparedCorpus) -> list[list[tuple[str, str]]]:
        parts = (corpus.train, corpus.dev, corpus.test)
        return [[(d.text, d.source) for d in part] for part in parts]

    assert shown(found) == shown(before)
    assert found.domains == ("code",)
    assert prepared_text(tmp_path / "law", law, "code") is None


def test_what_cannot_be_taken_back_is_refused(law: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is a kernel 'sea' already"):
        back(law, "sea")
    leave(law, "sea")
    with pytest.raises(ConfigError, match="take it back with: constellation add sea"):
        train_new(law, "sea", tmp_path / "law", trainer=alone)
    before = content(law)
    folder = law / "kernels" / "sea"
    loaded = load_kernel(folder)
    save_kernel(folder, loaded.decoder, tokenizer_hash="0" * 64, facts={})
    with pytest.raises(IncompatibleKernels):
        back(law, "sea")
    save_kernel(folder, loaded.decoder, tokenizer_hash=loaded.tokenizer_hash, facts=loaded.facts)
    known = domain_path(law, "sea")
    whole = known.read_bytes()
    known.write_bytes(pack_domain(record(law, "law")))
    with pytest.raises(ArtifactError, match="is the record of 'law'"):
        back(law, "sea")
    known.write_bytes(whole[:-1])
    with pytest.raises(ArtifactError, match=r"sea\.msgpack"):
        back(law, "sea")
    known.unlink()
    shutil.rmtree(law / "corpus")
    with pytest.raises(ConfigError, match="give text of its domain with --text"):
        back(law, "sea")
    assert content(law) == before


def test_a_kernel_whose_files_were_changed_while_it_was_away_serves_as_they_are(law: Path) -> None:
    """Only its record decides where it routes from: to the bit as before."""
    before, weights = bits(law, "sea"), kernel(law, "sea").files["weights.safetensors"]
    leave(law, "sea")
    for file in ("weights.safetensors", "kernel.json"):
        shutil.copy(law / "kernels" / "bake" / file, law / "kernels" / "sea" / file)
    back(law, "sea")
    assert bits(law, "sea") == before
    assert kernel(law, "sea").files["weights.safetensors"] != weights


def test_text_that_holds_the_run_itself_is_refused(artifacts: Path, tmp_path: Path) -> None:
    write(tmp_path / "law", STOCKS["sea"])
    before = files(artifacts)
    for text in (tmp_path, artifacts):
        with pytest.raises(ConfigError, match="contains the run's own folder"):
            train_new(artifacts, "law", text, trainer=alone)
    assert files(artifacts) == before
    assert not domain_path(artifacts, "law").exists()


def test_too_little_text_is_refused_before_anything_is_written(
    artifacts: Path, tmp_path: Path
) -> None:
    """Two documents are no text to learn from, to calibrate on and to report on."""
    for number in range(2):
        (tmp_path / "short").mkdir(exist_ok=True)
        (tmp_path / "short" / f"{number}.txt").write_text(f"wave tide number {number}\n")
    before = files(artifacts)

    def nobody(*_: object) -> None:
        raise AssertionError("nothing is trained")

    with pytest.raises(CorpusError, match="2 documents, but train, dev and test need"):
        train_new(artifacts, "short", tmp_path / "short", trainer=nobody)
    with pytest.raises(CorpusError, match="2 documents, but train, dev and test need"):
        make_kernel(artifacts, "short", artifacts / "seed", tmp_path / "short", ignore)
    assert files(artifacts) == before


def test_the_record_of_an_added_kernel_names_what_it_was_made_from(law: Path) -> None:
    assert json.loads((law / "added" / "law" / "added.json").read_text())["made_from"]
