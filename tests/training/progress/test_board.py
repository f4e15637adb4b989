"""The latest of every kernel, folded from events, and what an event says in words."""

import pytest

from tests.training.events import progress
from training.progress.board import Board, KernelRow
from training.progress.event_words import in_words
from training.progress.events import (
    BudgetWarning,
    Event,
    GuardChanged,
    KernelStateChanged,
    PartFinished,
    PartStarted,
    PhaseChanged,
)


def board(*events: Event) -> Board:
    made = Board()
    for event in events:
        made.take(event)
    return made


@pytest.mark.parametrize(
    ("events", "state", "reason"),
    [
        ([KernelStateChanged(kernel="sea", state="STAGED", reason="no room")], "STAGED", "no room"),
        ([progress()], "RUNNING", ""),
        ([progress(step=10)], "FINISHED", ""),
        (
            [KernelStateChanged(kernel="sea", state="STAGED", reason="no room"), progress()],
            "RUNNING",
            "",
        ),
        (
            [progress(step=4), KernelStateChanged(kernel="sea", state="FAILED", reason="NaN")],
            "FAILED",
            "NaN",
        ),
        (
            [KernelStateChanged(kernel="sea", state="RUNNING", reason="alone"), progress()],
            "RUNNING",
            "alone",
        ),
    ],
)
def test_a_kernel_has_the_state_of_the_last_event_that_speaks_of_it(
    events: list[Event], state: str, reason: str
) -> None:
    row = board(*events).kernels["sea"]
    assert (row.state, row.reason) == (state, reason)


def test_the_latest_progress_part_and_budget_count() -> None:
    made = board(
        PartStarted(part="corpus"),
        PartFinished(part="corpus", seconds=1.0, skipped=False),
        PartStarted(part="kernels"),
        progress(step=1),
        progress(step=3),
        progress(kernel="sky"),
        BudgetWarning(budget="tokens", used=80.0, limit=100.0),
        BudgetWarning(budget="tokens", used=100.0, limit=100.0),
    )
    assert made.part == "kernels"
    assert list(made.kernels) == ["sea", "sky"]
    assert made.kernels["sea"].progress == progress(step=3)
    assert made.to_dict()["budgets"]["tokens"]["used"] == 100.0


@pytest.mark.parametrize(
    "row",
    [
        KernelRow("sea", "STAGED", "waits for 3 GB"),
        KernelRow("sea", "RUNNING", "", progress(phi=0.5, phase="TACKING", terms={"basin": 0.25})),
    ],
)
def test_a_row_comes_back_from_json_values(row: KernelRow) -> None:
    assert KernelRow.of(row.to_dict()) == row


@pytest.mark.parametrize("wrong", [{"state": "LOST"}, {"kernel": None, "state": None}])
def test_a_row_of_another_version_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError)):
        KernelRow.of({"kernel": "sea", "reason": "", **wrong})


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (progress(), "sea: branch step 1/10, 2.000 bits/byte, 1,500 tokens/s"),
        (
            progress(dev_bits_per_byte=1.9),
            "sea: branch step 1/10, 2.000 bits/byte, held out 1.900, 1,500 tokens/s",
        ),
        (
            GuardChanged(
                kernel="sea",
                step=7,
                before="HEALTHY",
                after="WARN",
                cause="loss spike",
                numbers={"loss": 9.0, "loss_limit": 4.5},
            ),
            "sea: guard HEALTHY -> WARN at step 7: loss spike (loss 9, loss_limit 4.5)",
        ),
        (
            PhaseChanged(kernel="sea", step=7, before="FOAM", after="TACKING", phi_gauge=0.7251),
            "sea: phase FOAM -> TACKING at step 7 (gauge 0.725)",
        ),
        (KernelStateChanged(kernel="sea", state="STAGED", reason="no room"), "sea: STAGED no room"),
        (
            BudgetWarning(budget="minutes", used=8.0, limit=10.0),
            "budget of minutes: 80% used (8 of 10)",
        ),
        (
            BudgetWarning(budget="cost", used=2.5, limit=2.5),
            "budget of cost used up (2.5 of 2.5): the run stops and can be resumed",
        ),
        (PartStarted(part="table"), "table: started"),
        (PartFinished(part="table", seconds=1.26, skipped=False), "table: 1.3 s"),
        (PartFinished(part="table", seconds=0, skipped=True), "table: still valid"),
        (KernelStateChanged(kernel="sea", state="FAILED", reason="a\nb"), "sea: FAILED a b"),
    ],
)
def test_every_event_is_one_line(event: Event, words: str) -> None:
    assert in_words(event) == words
