"""`train`: how its figures look; the training itself is tested beside the pipeline."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from cluster.cli.train import MODELS, arrivals, figures, renew_served
from constellation.errors import ReloadRefused
from tests.cli.conftest import Run
from tests.cli.test_serving_commands import write_own_state
from tests.wire.fakes import Served
from training.evaluation import held_out_figures


def _report(bits: float, arrive: float = 0.25) -> dict[str, object]:
    return {
        "bits_per_byte": {name: bits + index for index, name in enumerate(MODELS)},
        "num_documents": 24,
        "prefix_tokens": 32,
        "routing_accuracy": arrive,
    }


def _held_out() -> dict[str, object]:
    return {**_report(1.5), "domains": {"sea": _report(2.5), "sky": _report(3.5, 0.125)}}


def test_the_figures_have_a_row_per_domain_and_one_for_all() -> None:
    text = io.StringIO()
    Console(file=text, width=140).print(figures(_held_out()))
    rows = [line.split() for line in text.getvalue().splitlines()[1:]]
    assert [row[0] for row in rows] == ["sea", "sky", "all"]
    assert rows[2][1:] == ["1.500", "2.500", "3.500", "4.500", "24", "25.0%"]
    assert rows[1][-2:] == ["24", "12.5%"]


def test_how_many_documents_arrive_is_said_in_all_and_where_they_are_fewest() -> None:
    assert arrivals(_held_out()) == (
        "25.0% of 24 held-out documents arrive at their own kernel, routed by their first 32 "
        "tokens; fewest of sky: 12.5%"
    )


def test_a_domain_without_figures_says_so_in_its_row() -> None:
    text = io.StringIO()
    held_out = {**_report(1.5), "domains": {"sea": _report(2.5)}}
    nothing = {"bits_per_byte": {}, "routing_accuracy": None, "domains": {}}
    for measured in (held_out, nothing):
        found = figures({**measured, "prefix_tokens": 32, "unscored": ["sky"]})
        Console(file=text, width=140).print(found)
    rows = [line.split() for line in text.getvalue().splitlines()]
    skies = [row for row in rows if row[:1] == ["sky"]]
    assert len(skies) == 2
    for row in skies:
        assert " ".join(row[-6:]) == "no held-out document of 64 tokens"


def test_every_model_of_the_report_is_shown() -> None:
    assert set(MODELS) == set(held_out_figures.MODELS)


def test_an_unknown_recipe_is_a_configuration_error(run: Run, tmp_path: Path) -> None:
    result = run("train", "nowhere")
    assert result.exit_code == 2
    assert "give a file or one of: " in result.stderr
    (tmp_path / "r.toml").write_text('name = "r"\nwrong = 1\n')
    result = run("train", "r.toml")
    assert result.exit_code == 2
    assert "wrong" in result.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "r.toml"]


def _renewed(folder: Path) -> tuple[bool, str]:
    text = io.StringIO()
    return renew_served(folder, Console(file=text, width=140)), text.getvalue()


def test_a_constellation_that_runs_from_the_folder_takes_the_new_weights(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _renewed(tmp_path / "x") == (False, ""), "nothing runs"
    write_own_state(Path("runs/local"), served.endpoint)
    found, said = _renewed(tmp_path / "x")
    assert found
    assert "serves new weights of: python, law" in said
    assert _renewed(tmp_path / "other") == (False, ""), "what runs was made of another folder"
    served.router.failures.append(ReloadRefused("another vocabulary"))
    found, said = _renewed(tmp_path / "x")
    assert found
    assert "is unchanged: nothing was reloaded: another vocabulary" in said
