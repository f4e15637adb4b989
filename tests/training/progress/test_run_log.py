"""What a run writes down: every event, lines for people, the latest of every kernel."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.training.events import progress
from training.progress.events import (
    Event,
    KernelStateChanged,
    PartFinished,
    PartStarted,
    PhaseChanged,
    from_json,
)
from training.progress.run_log import LINE_EVERY_S, RunLog

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> RunLog:
    return RunLog(tmp_path, clock=clock, now=lambda: NOON)


def lines(folder: Path) -> list[str]:
    return (folder / "training.log").read_text().splitlines()


def status(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return found


def test_every_event_comes_back_from_the_metrics(log: RunLog, tmp_path: Path) -> None:
    events: list[Event] = [
        PartStarted(part="kernels"),
        progress(phi=0.5, terms={"basin": 0.25}),
        PhaseChanged(kernel="sea", step=1, before=None, after="FOAM", phi_gauge=0.5),
    ]
    for event in events:
        log(event)
    written = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [from_json(line) for line in written] == events


def test_people_read_a_line_with_its_date_and_time(log: RunLog, tmp_path: Path) -> None:
    log(PartFinished(part="corpus", seconds=2.0, skipped=False))
    assert lines(tmp_path) == ["2026-01-02T12:00:00+00:00 corpus: 2.0 s"]


def test_progress_gets_a_line_only_when_there_is_something_to_tell(
    log: RunLog, tmp_path: Path, clock: Clock
) -> None:
    told = [
        (0.0, progress(step=1), True),
        (1.0, progress(step=2), False),
        (1.0, progress(kernel="sky", step=2), True),
        (2.0, progress(step=3, dev_bits_per_byte=1.5), True),
        (3.0, progress(step=4, dev_bits_per_byte=1.5), False),
        (2.0 + LINE_EVERY_S, progress(step=5, dev_bits_per_byte=1.5), True),
        (2.5 + LINE_EVERY_S, progress(step=10, dev_bits_per_byte=1.5), True),
    ]
    for now_s, event, is_told in told:
        clock.now_s = now_s
        before = len(lines(tmp_path)) if (tmp_path / "training.log").exists() else 0
        log(event)
        assert len(lines(tmp_path)) - before == is_told, event


def test_the_status_is_renewed_by_progress_now_and_then_and_by_changes_at_once(
    log: RunLog, tmp_path: Path, clock: Clock
) -> None:
    log(progress(step=1))
    clock.now_s = 0.5
    log(progress(step=2))
    assert status(tmp_path)["kernels"]["sea"]["step"] == 1
    clock.now_s = 1.0
    log(progress(step=3))
    assert status(tmp_path)["kernels"]["sea"]["step"] == 3
    log(KernelStateChanged(kernel="sky", state="STAGED", reason="no room"))
    log(progress(step=10))
    told = status(tmp_path)
    assert told["updated"] == "2026-01-02T12:00:00+00:00"
    assert (told["kernels"]["sea"]["step"], told["kernels"]["sea"]["state"]) == (10, "FINISHED")
    assert told["kernels"]["sky"] == {"kernel": "sky", "state": "STAGED", "reason": "no room"}


def test_a_resumed_run_keeps_what_is_known_of_kernels_that_say_nothing_now(
    log: RunLog, tmp_path: Path
) -> None:
    log(progress(step=10))
    log(progress(kernel="sky", step=4))
    log(PartStarted(part="kernels"))
    RunLog(tmp_path)(PartFinished(part="kernels", seconds=0, skipped=True))
    kernels = status(tmp_path)["kernels"]
    assert kernels["sea"]["state"] == "FINISHED"
    # Nobody trains it any more; what is left of it is no running kernel.
    assert (kernels["sky"]["state"], kernels["sky"]["step"]) == ("STOPPED", 4)


@pytest.mark.parametrize("damaged", ["{", "[]", '{"kernels": {"sea": {"state": "LOST"}}}', "null"])
def test_a_damaged_status_is_begun_anew(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "status.json").write_text(damaged)
    RunLog(tmp_path)(progress(kernel="sky"))
    assert list(status(tmp_path)["kernels"]) == ["sky"]
