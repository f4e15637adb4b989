"""Budgets: counted over resumed runs, warned of at 80 %, a clean stop at 100 %."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from constellation.errors import BudgetUsedUp, TrainingError
from training.progress.events import BudgetWarning, Event, KernelProgress
from training.recipe_running import BudgetSection
from training.runs.budget import Meter
from training.runs.budget_keeper import USAGE_FILE, BudgetKeeper


def progress(kernel: str, tokens: int) -> KernelProgress:
    return KernelProgress(
        kernel=kernel,
        stage="branch",
        step=1,
        num_steps=2,
        loss_bits=1.0,
        bits_per_byte=1.0,
        tokens_per_second=1.0,
        eta_s=0.0,
        gradient_norm=1.0,
        tokens=tokens,
    )


def test_warnings_come_once_per_budget_at_four_fifths() -> None:
    meter = Meter(BudgetSection(tokens=100, minutes=2.0))
    meter.count(seconds=10.0, tokens={"a": 40, "b": 39})
    assert meter.warnings() == []
    meter.count(seconds=11.0, tokens={"a": 41})
    assert meter.warnings() == [BudgetWarning(budget="tokens", used=80.0, limit=100.0)]
    assert meter.warnings() == []
    meter.count(seconds=96.0)
    assert [warning.budget for warning in meter.warnings()] == ["minutes"]
    assert meter.verdict() is None


@pytest.mark.parametrize(
    ("budget", "seconds", "tokens", "name"),
    [
        (BudgetSection(tokens=100), 0.0, 100, "tokens"),
        (BudgetSection(minutes=1.5), 90.0, 0, "minutes"),
        (BudgetSection(cost=3.0, price_per_hour=2.0), 5400.0, 0, "cost"),
    ],
)
def test_at_the_limit_the_verdict_names_the_budget_and_the_way_out(
    budget: BudgetSection, seconds: float, tokens: int, name: str
) -> None:
    meter = Meter(budget)
    meter.count(seconds=seconds - 0.1, tokens={"a": tokens - 1})
    assert meter.verdict() is None
    meter.count(seconds=seconds, tokens={"a": tokens})
    verdict = meter.verdict()
    assert verdict is not None
    assert verdict.budget == name
    assert f"raise budget.{name}" in str(verdict)


def test_usage_goes_on_over_resumed_runs_and_repeated_steps_count_once() -> None:
    first = Meter(BudgetSection())
    first.count(seconds=60.0, tokens={"a": 50, "b": 10})
    again = Meter(BudgetSection(price_per_hour=60.0), json.loads(json.dumps(first.to_dict())))
    again.count(seconds=30.0, tokens={"a": 45})  # from a checkpoint, behind where it was
    assert again.used() == {"tokens": 60.0, "minutes": 1.5, "cost": 1.5}
    again.count(seconds=30.0, tokens={"a": 55})
    assert again.used()["tokens"] == 65.0


@pytest.mark.parametrize(
    "wrong", [{"tokens": 0}, {"minutes": -1.0}, {"cost": 1.0}, {"price_per_hour": 0.0}]
)
def test_a_budget_that_means_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        BudgetSection(**wrong)  # type: ignore[arg-type]


def test_the_keeper_warns_stops_saves_and_goes_on(tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    told: list[Event] = []
    now = [0.0]
    keeper = BudgetKeeper(BudgetSection(tokens=100), tmp_path, clock=lambda: now[0])
    with keeper.watch(stop, told.append) as take:
        take(progress("a", 79))
        assert not stop.exists()
        take(progress("b", 10))
        assert [type(event) for event in told[-2:]] == [KernelProgress, BudgetWarning]
        assert not stop.exists()
        now[0] = 12.0
        take(progress("b", 21))
        assert stop.exists()
    with pytest.raises(BudgetUsedUp, match="100 of 100 tokens"):
        keeper.raise_if_used_up()
    assert json.loads((tmp_path / USAGE_FILE).read_text())["seconds"] == 12.0

    stop.unlink()
    spent = BudgetKeeper(BudgetSection(tokens=100), tmp_path)
    with pytest.raises(BudgetUsedUp), spent.watch(stop, told.append):
        pytest.fail("there is nothing left to begin with")
    larger = BudgetKeeper(BudgetSection(tokens=200), tmp_path)
    with larger.watch(stop, told.append) as take:
        take(progress("b", 30))
    assert not stop.exists()
    larger.raise_if_used_up()


def test_a_damaged_usage_file_is_not_taken_for_nothing_used(tmp_path: Path) -> None:
    (tmp_path / USAGE_FILE).write_text('{"seconds": 3')
    with pytest.raises(TrainingError, match="usage of this run is unknown; fix or delete"):
        BudgetKeeper(BudgetSection(tokens=1), tmp_path)
