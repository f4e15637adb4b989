"""The course of a run, read back from its log."""

from pathlib import Path

import pytest

from constellation.errors import ArtifactError
from tests.training.events import progress
from training.progress.events import PhaseChanged, to_json
from training.report.history import Curve, fold, read_history


def test_a_kernel_that_goes_back_takes_its_steps_again() -> None:
    steps = [1, 3, 5, 3, 4]  # rolled back from 5 to 2
    values = [5.0, 4.0, 9.0, 3.0, 2.0]
    events = [
        progress(step=step, bits_per_byte=value) for step, value in zip(steps, values, strict=True)
    ]
    curve = fold(events).curves["sea"]
    assert curve.train() == [(1, 5.0), (3, 3.0), (4, 2.0)]


def test_kernels_do_not_touch_each_other() -> None:
    curves = fold([progress(step=4), progress(kernel="sky", step=1)]).curves
    assert {name: len(curve.reports) for name, curve in curves.items()} == {"sea": 1, "sky": 1}


def test_repeated_and_missing_values_are_no_points() -> None:
    held_out = [None, 2.5, 2.5, float("nan"), 2.25]
    reports = tuple(
        progress(step=step, dev_bits_per_byte=value) for step, value in enumerate(held_out, 1)
    )
    assert Curve("sea", reports).held_out() == [(2, 2.5), (5, 2.25)]
    assert Curve("sea", reports).depth() == []


def test_shares_of_phases_weigh_steps_not_reports() -> None:
    reports = (
        progress(step=10, phase="FOAM"),
        progress(step=11, phase="TACKING"),
        progress(step=20, phase="TACKING"),
    )
    assert Curve("sea", reports).phase_shares() == {"FOAM": 0.5, "TACKING": 0.5}
    assert Curve("sea", (progress(),)).phase_shares() == {}


def test_a_log_reads_back_without_the_line_that_a_kill_cut_off(tmp_path: Path) -> None:
    change = PhaseChanged(kernel="sea", step=1, before=None, after="FOAM", phi_gauge=0.5)
    whole = f"{to_json(progress())}\n{to_json(change)}\n"
    (tmp_path / "metrics.jsonl").write_text(whole + to_json(progress(step=2))[:-9])
    history = read_history(tmp_path)
    assert history is not None
    assert history.curves["sea"].reports == (progress(),)
    assert history.phases == (change,)


def test_a_run_without_a_log_has_no_history(tmp_path: Path) -> None:
    assert read_history(tmp_path) is None


@pytest.mark.parametrize("line", ["{", "[]", '{"event": "Nothing"}', '{"event": "PartStarted"}'])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f"{to_json(progress())}\n{line}\n")
    with pytest.raises(ArtifactError, match="line 2 is damaged"):
        read_history(tmp_path)
