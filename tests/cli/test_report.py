"""`report`: words on the terminal, all of it as JSON, and a folder that holds no run."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.training.report.tiny_run import finished_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("trained"))


@pytest.mark.slow
def test_a_report_is_written_and_its_conclusion_said(run: Run, trained: Path) -> None:
    result = run("report", trained)
    assert result.exit_code == 0, result.output
    written = (trained / "report.md").read_text()
    said = [line.removeprefix("- ") for line in result.stdout.splitlines() if line[:2] == "- "]
    assert len(said) >= 5
    conclusion = written[written.index("## Conclusion") :].replace("\\", "")
    assert all(sentence in conclusion for sentence in said)
    assert str(trained / "plots") in result.stdout


@pytest.mark.slow
def test_all_of_it_comes_as_json(run: Run, trained: Path, tmp_path: Path) -> None:
    result = run("report", trained, "--out", tmp_path / "r" / "mine.md", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["out"] == str(tmp_path / "r" / "mine.md")
    assert set(told["kernels"]) == {"bake", "sea"}
    drawn = {f"plots/{path.name}" for path in (tmp_path / "r" / "plots").iterdir()}
    assert {plot["file"] for plot in told["plots"]} == drawn != set()


def test_a_folder_without_a_run_is_one_line_of_error(run: Run, tmp_path: Path) -> None:
    result = run("report", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {tmp_path}: holds no run")
