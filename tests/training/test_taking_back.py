"""Kernels leave and are taken back: same site, same documents, same names, however often."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from cluster.growth import Added, forget, join, leave, list_sources, make_kernel
from constellation.curricula.prepare import PreparedCorpus
from constellation.curricula.store import load_prepared
from constellation.errors import (
    ArtifactError,
    ConfigError,
    CorpusError,
    IncompatibleKernels,
)
from constellation.kernel.checkpoint import load_kernel, save_kernel
from constellation.records import KernelSite
from constellation.wire.table_file import load_table, pack_table
from constellation.wire.texts_file import texts_path
from tests.support.hugging_face import build_model, qwen2
from tests.training.test_growth import FORGE, STOCKS, alone, artifacts, files, trained, write
from training.growth import train_new
from training.kept_text import kept_text, prepared_text
from training.progress.events import ignore

__all__ = ["artifacts", "trained"]  # fixtures


@pytest.fixture
def law(artifacts: Path, tmp_path: Path) -> Path:
    """Return artifacts to which a kernel `law` was added by training, from text beside them."""
    write(tmp_path / "law", FORGE, files=14)
    join(artifacts, train_new(artifacts, "law", tmp_path / "law", trainer=alone), None)
    return artifacts


def site(artifacts: Path, name: str) -> KernelSite:
    return next(s for s in load_table(artifacts / "table.msgpack").sites if s.name == name)


def bits(artifacts: Path, name: str) -> bytes:
    """Return every bit of a kernel's site."""
    table = load_table(artifacts / "table.msgpack")
    alone_in = [s for s in table.sites if s.name == name]
    return pack_table(type(table)(
        version=1,
        coordizer_hash=table.coordizer_hash,
        background_K=table.background_K,
        temperatures={},
        sites=tuple(alone_in),
    ))  # fmt: skip


def kept(artifacts: Path, name: str) -> dict[str, str]:
    """Return the hash of every file of a kernel but its site, which a removal writes."""
    return {
        path: digest
        for path, digest in files(artifacts).items()
        if f"/{name}/" in f"/{path}" or path.endswith(f"texts/{name}.msgpack")
        if not path.endswith("site.msgpack")
    }


def back(artifacts: Path, name: str, text: Path | None = None) -> Added:
    new = make_kernel(artifacts, name, artifacts / "kernels" / name, text, ignore)
    return join(artifacts, new, None)


@pytest.mark.parametrize("name", ["law", "sea"])
def test_any_number_of_rounds_changes_no_bit(law: Path, name: str) -> None:
    """Of a kernel that was added, and of one of the run itself."""
    before, documents, others = bits(law, name), kept(law, name), site(law, "bake")
    for _ in range(4):
        leave(law, name, None)
        added = back(law, name)
        assert bits(law, name) == before
        assert kept(law, name) == documents
    assert site(law, "bake").basin_K.tobytes() == others.basin_K.tobytes()
    learned = kept_text(law, name)
    assert learned is not None
    assert added.kernel.num_documents == len(learned.train)
    assert added.own is not None


@pytest.mark.parametrize("name", ["law", "sea"])
@pytest.mark.parametrize("part", ["", "train.jsonl"])
def test_text_that_the_run_keeps_is_not_split_again(law: Path, name: str, part: str) -> None:
    """The command that the documents named before has the same end."""
    home = law / "added" / "law" if name == "law" else law / "corpus"
    before, documents = bits(law, name), files(home)
    for _ in range(2):
        leave(law, name, None)
        back(law, name, home / part)
        assert bits(law, name) == before
        assert files(home) == documents
    assert not (law / "added" / "sea").exists()


def test_a_kernel_that_left_before_sites_were_kept_is_made_of_its_kept_text(law: Path) -> None:
    basins = {name: site(law, name).basin_K.tobytes() for name in ("law", "sea")}
    for name, basin in basins.items():
        leave(law, name, None)
        (law / "kernels" / name / "site.msgpack").unlink()
        back(law, name)
        assert site(law, name).basin_K.tobytes() == basin


def test_what_was_unlearned_stays_unlearned_and_the_rest_can_still_go(law: Path) -> None:
    first, second, *_ = (source.name for source in list_sources(law, "law"))
    forget(law, "law", first, None)
    before = bits(law, "law")
    leave(law, "law", None)
    back(law, "law")
    assert bits(law, "law") == before
    forget(law, "law", second, None)
    assert site(law, "law").unlearned == (first, second)
    told = {source.name: source.unlearned for source in list_sources(law, "law")}
    assert [name for name, gone in told.items() if gone] == [first, second]


def test_names_of_sources_stay_those_of_the_files(law: Path) -> None:
    names = {source.name for source in list_sources(law, "law")}
    assert names < {f"{number}.txt" for number in range(14)}
    leave(law, "law", None)
    back(law, "law")
    assert {source.name for source in list_sources(law, "law")} == names


def test_training_again_from_kept_text_trains_nothing(law: Path) -> None:
    def nobody(*_: object) -> None:
        raise AssertionError("it is finished")

    before, documents = bits(law, "law"), kept(law, "law")
    leave(law, "law", None)
    join(law, train_new(law, "law", law / "added" / "law", trainer=nobody), None)
    assert bits(law, "law") == before
    assert kept(law, "law") == documents


def test_a_model_of_transformers_is_taken_back(law: Path, tmp_path: Path) -> None:
    build_model(tmp_path / "model", partial(qwen2, context=256), seed=3)
    new = make_kernel(law, "guest", tmp_path / "model", tmp_path / "law", ignore)
    join(law, new, None)
    before, documents = bits(law, "guest"), kept(law, "guest")
    leave(law, "guest", None)
    back(law, "guest")
    forget(law, "guest", list_sources(law, "guest")[0].name, None)
    assert bits(law, "guest") != before
    leave(law, "guest", None)
    make_kernel(law, "guest", law / "kernels" / "guest", tmp_path / "law", ignore)  # anew
    join(law, make_kernel(law, "guest", law / "kernels" / "guest", None, ignore), None)
    assert bits(law, "guest") == before
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
    leave(law, "sea", None)
    with pytest.raises(ConfigError, match="take it back with: constellation add sea"):
        train_new(law, "sea", tmp_path / "law", trainer=alone)
    table = (law / "table.msgpack").read_bytes()
    folder = law / "kernels" / "sea"
    kernel = load_kernel(folder)
    save_kernel(folder, kernel.decoder, tokenizer_hash="0" * 64, facts={})
    with pytest.raises(IncompatibleKernels):
        back(law, "sea")
    save_kernel(folder, kernel.decoder, tokenizer_hash=kernel.tokenizer_hash, facts=kernel.facts)
    site_file = folder / "site.msgpack"
    shutil.copy(law / "kernels" / "law" / "site.msgpack", site_file)
    with pytest.raises(ArtifactError, match="is not that of the kernel 'sea'"):
        back(law, "sea")
    site_file.unlink()
    shutil.rmtree(law / "corpus")
    with pytest.raises(ConfigError, match="--text says where its domain lies"):
        back(law, "sea")
    assert (law / "table.msgpack").read_bytes() == table


def test_text_that_holds_the_run_itself_is_refused(artifacts: Path, tmp_path: Path) -> None:
    write(tmp_path / "law", STOCKS["sea"])
    before = files(artifacts)
    for text in (tmp_path, artifacts):
        with pytest.raises(ConfigError, match="holds the run itself"):
            train_new(artifacts, "law", text, trainer=alone)
    assert files(artifacts) == before
    assert not texts_path(artifacts, "law").exists()


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
