"""Ways to show a run's events: a live table, a JSON-lines log and a status file."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table as RichTable

from training.checkpoints import write_json
from training.events import Event, KernelProgress, PartFinished, PartStarted, to_json


class RunLog:
    """Writes every event to `metrics.jsonl` and the latest state to `status.json`."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        status_every_s: float = 1.0,
    ) -> None:
        """Append to the log in `folder`; the status file is renewed at most that often."""
        folder.mkdir(parents=True, exist_ok=True)
        self._metrics = folder / "metrics.jsonl"
        self._status = folder / "status.json"
        self._clock = clock
        self._status_every_s = status_every_s
        self._written_s: float | None = None
        self._part = ""
        self._kernels: dict[str, KernelProgress] = {}

    def __call__(self, event: Event) -> None:
        """Log one event."""
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(to_json(event) + "\n")
        if isinstance(event, KernelProgress):
            self._kernels[event.kernel] = event
            due = self._written_s is None or self._clock() - self._written_s >= self._status_every_s
        else:
            if isinstance(event, PartStarted | PartFinished):
                self._part = event.part if isinstance(event, PartStarted) else ""
            due = True
        if due:
            self._written_s = self._clock()
            kernels = {name: asdict(progress) for name, progress in self._kernels.items()}
            write_json(self._status, {"part": self._part, "kernels": kernels})


class LiveTable:
    """Shows one row per kernel while it is open, and a line per finished part."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`; when it is no terminal, only the lines of parts appear."""
        self._console = console
        self._kernels: dict[str, KernelProgress] = {}
        self._live = Live(console=console, refresh_per_second=4, transient=False)

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
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, KernelProgress):
            self._kernels[event.kernel] = event
            self._live.update(kernel_table(list(self._kernels.values())))
        elif isinstance(event, PartFinished):
            state = "still valid" if event.skipped else f"{event.seconds:.1f} s"
            self._console.print(f"{event.part}: {state} {event.detail}".rstrip(), highlight=False)


def kernel_table(rows: list[KernelProgress]) -> RichTable:
    """Return a table with one row per kernel."""
    table = RichTable(title="Training")
    for name in ("kernel", "stage"):
        table.add_column(name)
    for name in ("step", "loss bits", "bits/byte", "held-out", "tokens/s", "ETA"):
        table.add_column(name, justify="right")
    for row in rows:
        held_out = "" if row.dev_bits_per_byte is None else f"{row.dev_bits_per_byte:.3f}"
        done = row.step >= row.num_steps
        table.add_row(
            row.kernel,
            row.stage,
            f"{row.step}/{row.num_steps}",
            f"{row.loss_bits:.3f}",
            f"{row.bits_per_byte:.3f}",
            held_out,
            f"{row.tokens_per_second:,.0f}",
            "done" if done else f"{row.eta_s:.0f} s",
        )
    return table
