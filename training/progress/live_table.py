"""Show a run's progress on a terminal: one row per kernel, and a line for other events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table as RichTable
from rich.text import Text

from training.progress.board import Board, KernelRow
from training.progress.event_words import in_words
from training.progress.events import (
    BudgetWarning,
    CorpusRead,
    Event,
    GuardChanged,
    KernelProgress,
    KernelStateChanged,
    Notice,
    PartFinished,
    PhaseChanged,
)

ROWS_MAX = 24
"""Largest number of rows; running kernels come first, and the caption counts the others."""

_KERNELS: Final = "kernels"
"""Name of the part of a run in which kernels are trained."""
_STEPS_SHOWN: Final = 4

_STATE_STYLES: Final = {
    "RUNNING": "green",
    "STAGED": "yellow",
    "STOPPED": "yellow",
    "FAILED": "bold red",
    "FINISHED": "dim",
}
_GUARD_STYLES: Final = {"WARN": "yellow", "PAUSED": "bold red", "RECOVERING": "cyan"}
_ORDER: Final = ("RUNNING", "FAILED", "STOPPED", "STAGED", "FINISHED")


class LiveTable:
    """Shows one row per kernel while open, and a line per part, change and warning."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`; on an output that is not a terminal, print only the lines."""
        self._console = console
        self._board = Board()
        self._before = "getting ready"  # what is being done until the first event
        self._spinner: Spinner | None = Spinner("dots")
        self._live = Live(
            console=console, refresh_per_second=4, transient=False, get_renderable=self._view
        )

    def __enter__(self) -> "LiveTable":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._spinner = None  # what stays on the screen does not move
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self._board.take(event)
        self._before = ""
        line = _line(event)
        if line is not None:
            self._console.print(line)

    def in_words(self) -> str:
        """Return the current work in words, such as "kernels: python 40/600, law 20/600".

        Empty between parts, and after the last one.
        """
        part = self._board.part or self._before
        if part != _KERNELS:
            return part
        steps = [
            f"{row.kernel} {row.progress.step}/{row.progress.num_steps}"
            for row in list(self._board.kernels.values())
            if row.progress is not None and row.state == "RUNNING"
        ]
        return f"{part}: {', '.join(steps[:_STEPS_SHOWN]) or 'starting Ray and its workers'}"

    def _view(self) -> Group:
        """Return the table, once there is one, with a moving spinner below it."""
        rows = list(self._board.kernels.values())
        shown: list[RenderableType] = []
        if rows:
            shown.append(kernel_table(rows, width=self._console.width))
        if self._spinner is not None:
            self._spinner.update(text=self.in_words())
            shown.append(self._spinner)
        return Group(*shown)


def _line(event: Event) -> Text | None:
    """Return the line that is printed for an event; None for an event without a line."""
    if isinstance(event, CorpusRead):
        return Text("\n".join(event.lines))
    if isinstance(event, PartFinished):
        return Text(in_words(event))
    if isinstance(event, GuardChanged):
        return Text(in_words(event), style=_GUARD_STYLES.get(event.after, ""))
    if isinstance(event, PhaseChanged):
        # The first reading is where a kernel starts, not a change.
        return None if event.before is None else Text(in_words(event))
    if isinstance(event, BudgetWarning | Notice):
        return Text(in_words(event), style="bold yellow")
    failed = isinstance(event, KernelStateChanged) and event.state in ("FAILED", "STOPPED")
    return Text(in_words(event), style="bold red") if failed else None


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of the table."""

    title: str
    cell: Callable[[KernelProgress], str]
    """Function from a kernel that has taken steps to the cell's text; empty without a value."""
    rank: int
    """Importance: on a narrow terminal, columns of a high rank are dropped first."""


def _or_nothing(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


_COLUMNS: Final = (
    _Column("stage", lambda row: row.stage, 9),
    _Column("step", lambda row: f"{row.step}/{row.num_steps}", 0),
    _Column("loss bits", lambda row: f"{row.loss_bits:.3f}", 8),
    _Column("bits/byte", lambda row: f"{row.bits_per_byte:.3f}", 1),
    _Column("held-out", lambda row: _or_nothing(row.dev_bits_per_byte, ".3f"), 2),
    _Column("tokens/s", lambda row: f"{row.tokens_per_second:,.0f}", 4),
    _Column("Phi", lambda row: _or_nothing(row.phi, ".3f"), 6),
    _Column("kappa", lambda row: _or_nothing(row.kappa, ".2f"), 7),
    _Column("basin", lambda row: _or_nothing(row.basin_distance, ".3f"), 10),
    _Column("depth", lambda row: _or_nothing(row.depth, ".1f"), 11),
    _Column("phase", lambda row: row.phase or "", 5),
    _Column("guard", lambda row: row.guard, 3),
    _Column("ETA", lambda row: _duration(row.eta_s) if row.step < row.num_steps else "", 1),
)


def kernel_table(rows: Sequence[KernelRow], *, width: int = 120) -> RichTable:
    """Return a table with one row per kernel.

    Args:
        rows: Latest state of each kernel. Columns that are empty in all rows are left out.
        width: Columns of the terminal; where it is narrow, what matters less is left out.
    """
    shown = sorted(rows, key=lambda row: _ORDER.index(row.state))[:ROWS_MAX]
    columns = _fitting(_filled(shown), shown, width)
    table = RichTable(title="Training", caption=_caption(rows, len(shown)), caption_justify="left")
    table.add_column("kernel", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for column in columns:
        left = column.title in ("stage", "phase", "guard")
        table.add_column(column.title, justify="left" if left else "right", no_wrap=True)
    for row in shown:
        cells = [_cell(column, row) for column in columns]
        table.add_row(row.kernel, Text(row.state, style=_STATE_STYLES[row.state]), *cells)
    return table


def _filled(rows: Sequence[KernelRow]) -> list[_Column]:
    return [column for column in _COLUMNS if any(_cell(column, row).plain for row in rows)]


def _fitting(columns: list[_Column], rows: Sequence[KernelRow], width: int) -> list[_Column]:
    """Drop columns, the least important first, until the table is no wider than `width`."""

    def taken(column: _Column) -> int:
        # Rich puts a space on either side of a cell and a line between cells.
        return max([len(column.title), *(len(_cell(column, row).plain) for row in rows)]) + 3

    names = max((len(row.kernel) for row in rows), default=0)
    room = width - max(len("kernel"), names) - max(map(len, _ORDER)) - 7
    kept = list(columns)
    while kept and sum(map(taken, kept)) > room:
        kept.remove(max(kept, key=lambda column: column.rank))
    return kept


def _cell(column: _Column, row: KernelRow) -> Text:
    if row.progress is None:
        return Text("")
    text = column.cell(row.progress)
    return Text(text, style=_GUARD_STYLES.get(text, "") if column.title == "guard" else "")


def _caption(rows: Sequence[KernelRow], num_shown: int) -> str | None:
    """Return why kernels wait or failed, and how many are not shown."""
    reasons = [
        f"{row.kernel}: {row.reason}" for row in rows if row.reason and row.state == "STAGED"
    ]
    if len(rows) > num_shown:
        reasons.append(f"{len(rows) - num_shown} more kernels")
    return "\n".join(reasons[:4]) or None


def _duration(seconds: float) -> str:
    """Return a duration such as "45 s", "12 min" or "3.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
