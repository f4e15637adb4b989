"""Too little text, and folders that cannot be written: said before the cost, in one typed error."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from constellation.curricula.corpus_store import load_prepared
from constellation.curricula.prepare import PreparedCorpus
from constellation.errors import ArtifactError, CorpusError
from tests.training.test_again import nobody, notices, sites, text
from tests.training.test_growth import STOCKS
from tests.training.test_pipeline import alone, recipe
from training.pipeline import train
from training.report.report_files import write_report
from training.validation.run import validate_run

pytestmark = pytest.mark.slow


__all__ = ["text"]  # a fixture


def short_text(folder: Path, words: int, *, domains: tuple[str, ...] = ("a", "b")) -> Path:
    """Write sixty documents of a few words for each domain."""
    for domain in domains:
        (folder / domain).mkdir(parents=True)
        stock = STOCKS["sea" if domain == "a" else "bake"]
        for number in range(60):
            told = [stock[(number + at * 7) % 10] + str(number) for at in range(words)]
            (folder / domain / f"{number}.txt").write_text(" ".join(told) + "\n")
    return folder


def test_a_domain_without_held_out_text_is_refused_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the discovery of domains may leave one."""

    def without_b(folder: Path) -> PreparedCorpus:
        corpus = load_prepared(folder)
        return replace(corpus, dev=tuple(d for d in corpus.dev if d.domain != "b"))

    monkeypatch.setattr("training.pipeline.load_prepared", without_b)
    with pytest.raises(CorpusError, match="none to calibrate on in: b; add texts"):
        train(recipe(short_text(tmp_path / "text", 9)), tmp_path / "out", trainer=nobody)
    assert not (tmp_path / "out" / "kernels").exists()
    assert not (tmp_path / "out" / "table.msgpack").exists()


@pytest.mark.parametrize("words", [3, 9])
def test_text_too_short_for_figures_is_trained_and_served_without_them(
    tmp_path: Path, words: int
) -> None:
    """With the largest seed there is, too."""
    short = short_text(tmp_path / "text", words)
    told = notices(recipe(short, seed=2**64 - 1), tmp_path / "out")
    assert "no held-out figures of: a (longest: " in told
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["held_out"]["num_documents"] == 0
    assert report["held_out"]["unscored"] == ["a", "b"]
    assert (report["across"], report["collective"]) == (None, None)
    assert len(sites(tmp_path / "out")) == 2
    shown = write_report(tmp_path / "out").path.read_text()
    assert "No held-out document of 64 tokens: a, b." in shown
    assert "Nothing was measured on held-out text" in shown
    checks = validate_run(tmp_path / "out").groups["a"]
    assert checks  # and no error


def test_a_domain_without_figures_is_named_beside_those_that_have_some(
    text: Path, tmp_path: Path
) -> None:
    mixed = short_text(tmp_path / "text", 9, domains=("a",))
    for name in ("bake", "stars"):
        shutil.copytree(text / name, mixed / name)
    told = notices(recipe(mixed), tmp_path / "out")
    assert "no held-out figures of: a (longest: " in told
    held_out = json.loads((tmp_path / "out" / "report.json").read_text())["held_out"]
    assert held_out["unscored"] == ["a"]
    assert set(held_out["domains"]) == {"bake", "stars"}
    assert (
        "No held-out document of 64 tokens: a." in write_report(tmp_path / "out").path.read_text()
    )


def test_a_folder_that_cannot_be_made_is_one_typed_error(text: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "inside", Path("/proc/nothing")):
        with pytest.raises(ArtifactError, match="cannot be written or read"):
            train(recipe(text), path, trainer=nobody)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("part", ["corpus", "coordizer", "tokens", "table", "report"])
def test_a_part_that_cannot_be_written_is_named_with_the_reason(
    text: Path, tmp_path: Path, part: str
) -> None:
    """A folder stands where a file must be, or a file where a folder must: the system says no."""
    out = tmp_path / "out"
    out.mkdir()
    names = {"table": "table.msgpack", "report": "report.json"}
    place = out / names.get(part, part)
    if part in names:
        (place / "inside").mkdir(parents=True)
    else:
        place.write_text("mine")
    with pytest.raises(ArtifactError, match=part):
        train(recipe(text), out, trainer=alone)
    assert place.exists()
