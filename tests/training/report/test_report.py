"""Reports of a real run: every section, no number that is not in the JSON, missing and damaged."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from constellation.errors import ArtifactError
from constellation.releases.store import ReleaseStore
from tests.training.report import invented
from training.report import figure_style
from training.report.markdown import to_markdown
from training.report.plots import Plot, draw_plots
from training.report.report_files import WrittenReport, refresh_report, write_report
from training.report.samples import SAMPLES
from training.report.summary import summarise_run

SECTIONS = (
    "Summary",
    "Key results",
    "Pictures",
    "Bits per byte",
    "Observables",
    "Arrivals",
    "Refusal",
    "Samples",
    "Budget and time",
    "What it was made from",
    "Conclusion",
)


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw few pixels: these tests look at the text, `test_plots.py` at the pictures."""
    monkeypatch.setattr(figure_style, "DPI", 40)


@pytest.fixture(scope="module")
def written(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> WrittenReport:
    run = tmp_path_factory.mktemp("written") / "run"
    shutil.copytree(finished, run)
    return write_report(run)


def sections(text: str) -> list[str]:
    return re.findall(r"^## (.+)$", text, re.MULTILINE)


def numbers_in(value: Any) -> Iterator[float]:
    """Yield every number of JSON values; those in strings are no numbers."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from numbers_in(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def strangers(text: str, summary: dict[str, Any]) -> list[str]:
    """Return the decimals of a report's prose and tables that round no number of its JSON."""
    prose = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"`[^`]*`|plots/\S+", "", prose)
    known = list(numbers_in(summary))
    known += [-value for value in known] + [100 * value for value in known]
    found = []
    for whole, digits in re.findall(r"(?<![\w.])[+-]?(\d[\d,]*\.(\d+))(?![\w.])", prose):
        number = float(whole.replace(",", ""))
        close = 0.5 * 10.0 ** -len(digits) * (1 + 1e-6)
        if not any(abs(abs(value) - number) <= close for value in known):
            found.append(whole)
    return found


@pytest.mark.slow
def test_a_report_has_every_section_that_there_is_something_for(written: WrittenReport) -> None:
    text = written.path.read_text()
    assert sections(text) == list(SECTIONS)
    assert text.startswith("# Report of the run tiny\n")
    for plot in written.plots:
        assert f"]({plot.file})" in text
        assert (written.path.parent / plot.file).stat().st_size > 1000


def test_every_number_of_a_report_is_in_its_json(written: WrittenReport, tmp_path: Path) -> None:
    text = written.path.read_text()
    assert strangers(text, written.summary) == []
    summary = summarise_run(invented.facts(tmp_path), invented.SAMPLES)
    assert strangers(to_markdown(summary, []), summary) == []


def test_a_number_that_is_not_in_the_json_is_found(written: WrittenReport) -> None:
    text = written.path.read_text()
    value = written.summary["findings"][0]["value"]
    told = f"{value:.4f}"
    assert told in text
    assert strangers(text.replace(told, f"{value + 77:.4f}"), written.summary) != []


def test_the_tables_hold_the_figures_of_the_pipeline(written: WrittenReport) -> None:
    report = json.loads((written.path.parent / "report.json").read_text())
    rows = {
        cells[0]: cells
        for line in written.path.read_text().splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) >= 7
    }
    for name, domain in report["held_out"]["domains"].items():
        bits = domain["bits_per_byte"]
        other = report["across"]["kernels"][name]["other"]
        assert f"{bits['seed']:.3f}" in rows[name] or name in rows
        text = written.path.read_text()
        row = next(
            line for line in text.splitlines() if line.startswith(f"| {name} | {bits['seed']:.3f}")
        )
        assert f"| {bits['oracle_label']:.3f} |" in row
        assert f"| {other['before']:.3f} | {other['after']:.3f} |" in row


@pytest.mark.slow
def test_an_invented_run_with_everything_fills_the_optional_sections(tmp_path: Path) -> None:
    facts = invented.facts(tmp_path)
    summary = summarise_run(facts, invented.SAMPLES)
    text = to_markdown(summary, draw_plots(facts, tmp_path))
    assert {"Running of the coupling", "Course of the run", "Validation"} <= set(sections(text))
    assert "| depth | not applicable | does not recur |" in text
    assert "sea: guard WARN -\\> PAUSED at step 9: no number" in text
    assert "CRYSTAL" in text
    assert "Not measured" not in text


def test_what_models_write_cannot_break_out_of_its_block(tmp_path: Path) -> None:
    text = to_markdown(summarise_run(invented.facts(tmp_path), invented.SAMPLES), [])
    assert "````text\n ```\nmore\n````" in text
    assert "```text\n\N{SYMBOL FOR NULL}|#\n```" in text


@pytest.mark.slow
def test_the_same_run_gets_the_same_report(written: WrittenReport, finished: Path) -> None:
    before = written.path.read_bytes()
    samples = (written.path.parent / SAMPLES).read_bytes()
    again = write_report(written.path.parent)
    assert again.path.read_bytes() == before
    (written.path.parent / SAMPLES).unlink()
    write_report(written.path.parent)
    assert (written.path.parent / SAMPLES).read_bytes() == samples


@pytest.mark.slow
def test_a_report_is_made_anew_only_when_it_is_older_than_its_run(copied: Path) -> None:
    path = refresh_report(copied)
    path.write_text("mine")
    refresh_report(copied)
    assert path.read_text() == "mine"
    (copied / "beta_measurement.json").write_text(json.dumps(invented.BETA))
    refresh_report(copied)
    assert "## Running of the coupling" in path.read_text()


def test_a_run_under_way_is_reported_so_far(finished: Path, tmp_path: Path) -> None:
    for name in ("metrics.jsonl", "status.json"):
        shutil.copy(finished / name, tmp_path / name)
    report = write_report(tmp_path)
    assert [plot.file for plot in report.plots] == ["plots/loss.png"]
    assert "Nothing was measured on held-out text" in report.path.read_text()
    assert sections(report.path.read_text()) == [
        "Summary", "Pictures", "Budget and time", "Conclusion",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("report.json", b"{"),
        ("report.json", b"[1]"),
        ("report.json", b'{"kernels": 3}'),
        ("report.json", b'{"held_out": {"bits_per_byte": {"seed": 1, "constellation": "x"}}}'),
        ("metrics.jsonl", b"nonsense\n"),
        ("status.json", b"\xff\xfe"),
        ("validation_report.json", b'{"checks": [{}]}'),
        ("beta_measurement.json", b'{"beta_fit": {}}'),
        ("current", b"nonsense"),
        ("releases/1.msgpack", b"nonsense"),
    ],
)
def test_a_damaged_file_is_a_typed_error(copied: Path, file: str, content: bytes) -> None:
    (copied / file).write_bytes(content)
    with pytest.raises(ArtifactError):
        write_report(copied)
    assert not (copied / "report.md").exists()


@pytest.mark.parametrize("file", ["table.msgpack", "kernels/sea/weights.safetensors"])
def test_a_damaged_file_of_the_release_is_a_typed_error(copied: Path, file: str) -> None:
    store = ReleaseStore(copied)
    shutil.rmtree(store.current_folder())  # copied with the run: files, not links to the blobs
    path = store.current_folder() / file
    path.chmod(0o644)
    path.write_bytes(b"nonsense")
    with pytest.raises(ArtifactError):
        write_report(copied)
    assert not (copied / "report.md").exists()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no run"):
        write_report(tmp_path)
    with pytest.raises(ArtifactError, match="is no folder"):
        write_report(tmp_path / "nowhere")


def test_a_report_that_cannot_be_written_is_a_typed_error(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_report(copied, tmp_path / "file" / "report.md")


def test_a_picture_is_a_picture(written: WrittenReport) -> None:
    assert all(isinstance(plot, Plot) for plot in written.plots)
    assert {Path(plot.file).stem for plot in written.plots} == {
        "bits_per_byte", "across", "routing", "loss",
    }  # fmt: skip
