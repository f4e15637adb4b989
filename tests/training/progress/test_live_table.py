"""The live table: which columns and rows it shows, and which events get a line."""

import io
import re

import pytest
from rich.console import Console

from tests.training.events import progress
from training.progress.board import KernelRow
from training.progress.event_words import in_words
from training.progress.events import (
    BudgetWarning,
    CorpusRead,
    Event,
    GuardChanged,
    KernelProgress,
    KernelStateChanged,
    PartFinished,
    PartStarted,
    PhaseChanged,
    from_json,
    to_json,
)
from training.progress.live_table import ROWS_MAX, LiveTable, kernel_table

EVERYTHING = progress(
    dev_bits_per_byte=1.9,
    phi=0.61,
    kappa=9.87,
    basin_distance=0.123,
    depth=3.4,
    phase="CRYSTAL",
    guard="WARN",
)


def shown(*rows: KernelRow, width: int = 160) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(kernel_table(rows, width=width))
    return text.getvalue()


def running(report: KernelProgress) -> KernelRow:
    return KernelRow(report.kernel, "RUNNING", "", report)


def titles(text: str) -> list[str]:
    heading = next(line for line in text.splitlines() if "kernel" in line)
    return [title.strip() for title in re.split("[┃│]", heading) if title.strip()]


def test_all_that_is_known_has_a_column() -> None:
    text = shown(running(EVERYTHING))
    assert titles(text) == [
        "kernel", "state", "stage", "step", "loss bits", "bits/byte", "held-out", "tokens/s",
        "Phi", "kappa", "basin", "depth", "phase", "guard", "ETA",
    ]  # fmt: skip
    for cell in ("1/10", "2.000", "1.900", "1,500", "0.610", "9.87", "CRYSTAL", "WARN", "90 s"):
        assert cell in text


def test_columns_that_nothing_fills_are_not_shown() -> None:
    assert not {"held-out", "Phi", "kappa", "basin", "depth", "phase"} & set(
        titles(shown(running(progress())))
    )
    # One kernel that has a value brings the column back for all.
    both = shown(running(progress()), running(progress(kernel="sky", phi=0.5)))
    assert "Phi" in titles(both)


def test_a_kernel_that_waits_shows_why() -> None:
    text = shown(running(progress()), KernelRow("sky", "STAGED", "waits for 3 GB"))
    assert "STAGED" in text
    assert "sky: waits for 3 GB" in text


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_a_narrow_terminal_shows_what_matters_and_cuts_nothing(width: int) -> None:
    text = shown(running(EVERYTHING), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert {"kernel", "state", "step", "bits/byte", "ETA"} <= set(titles(text))


def test_running_kernels_come_first_and_the_rest_is_counted() -> None:
    rows = [KernelRow(f"k{i}", "STAGED") for i in range(ROWS_MAX + 3)]
    text = shown(*rows, running(progress(kernel="busy")))
    assert "busy" in text
    assert "4 more kernels" in text
    assert f"k{ROWS_MAX}" not in text


def test_the_time_left_is_said_in_a_fitting_unit() -> None:
    for seconds, words in ((119, "119 s"), (600, "10 min"), (9000, "2.5 h")):
        assert words in shown(running(progress(eta_s=seconds)))
    assert "0 s" not in shown(running(progress(step=10, eta_s=0)))


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (PartFinished(part="corpus", seconds=2.0, skipped=False), "corpus: 2.0 s"),
        (
            GuardChanged(kernel="sea", step=3, before="WARN", after="PAUSED", cause="no number"),
            "sea: guard WARN -> PAUSED at step 3: no number",
        ),
        (
            PhaseChanged(kernel="sea", step=3, before="FOAM", after="TACKING", phi_gauge=0.71),
            "sea: phase FOAM -> TACKING at step 3 (gauge 0.710)",
        ),
        (PhaseChanged(kernel="sea", step=3, before=None, after="FOAM", phi_gauge=0.1), ""),
        (
            BudgetWarning(budget="tokens", used=80, limit=100),
            "budget of tokens: 80% used (80 of 100)",
        ),
        (KernelStateChanged(kernel="sea", state="FAILED", reason="x"), "sea: FAILED x"),
        (KernelStateChanged(kernel="sea", state="RUNNING"), ""),
        (progress(), ""),
    ],
)
def test_where_there_is_no_terminal_only_lines_appear(event: Event, line: str) -> None:
    text = io.StringIO()
    with LiveTable(Console(file=text, width=120)) as table:
        table(event)
    assert text.getvalue().strip() == line


def test_what_was_read_of_a_corpus_has_a_line_for_each_part() -> None:
    text = io.StringIO()
    event = CorpusRead(lines=["read: 3 files", "not read: [bold]x.so[/bold]"])
    with LiveTable(Console(file=text, width=120)) as table:
        table(event)
    assert text.getvalue() == "read: 3 files\nnot read: [bold]x.so[/bold]\n"
    assert from_json(to_json(event)) == event
    assert in_words(event) == "corpus: read: 3 files; not read: [bold]x.so[/bold]"


def test_a_terminal_shows_the_table() -> None:
    text = io.StringIO()
    with LiveTable(Console(file=text, width=120, force_terminal=True)) as table:
        table(progress(step=4))
    assert "4/10" in text.getvalue()


def test_what_is_being_done_is_said_in_words_before_and_while_kernels_run() -> None:
    table = LiveTable(Console(file=io.StringIO(), width=100))
    assert table.in_words() == "getting ready"
    table(PartStarted(part="coordizer"))
    assert table.in_words() == "coordizer"
    table(PartStarted(part="kernels"))
    assert table.in_words() == "kernels: starting Ray and its workers"
    table(progress())
    assert table.in_words() == f"kernels: {progress().kernel} 1/10"
    table(PartFinished(part="kernels", seconds=1.0, skipped=False))
    assert table.in_words() == ""


def test_a_terminal_shows_something_that_moves_before_there_is_a_table() -> None:
    screen = io.StringIO()
    with LiveTable(Console(file=screen, width=100, force_terminal=True)) as table:
        table(PartStarted(part="corpus"))
        table._live.refresh()
        assert "corpus" in screen.getvalue()
    assert "Training" not in screen.getvalue()
