"""Log a training run to files: `metrics.jsonl`, `training.log` and `status.json`."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from training.json_files import write_json
from training.progress.board import Board, KernelRow
from training.progress.event_words import in_words
from training.progress.events import Event, KernelProgress, to_json

LINE_EVERY_S = 30.0
"""Seconds between two lines of one kernel's progress in `training.log`; its first and last step and
every new held-out figure always have a line."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class RunLog:
    """Writes a run's events to three files.

    Every event goes to `metrics.jsonl`, the events that people read to `training.log`, and the
    latest state of every kernel to `status.json`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _utc_now,
        status_every_s: float = 1.0,
    ) -> None:
        """Append to the logs in `folder`, starting from the status that an earlier run wrote.

        Args:
            folder: The run's; made when missing.
            clock: Seconds that never run backwards.
            now: The date and time, for people.
            status_every_s: The status file is renewed at most that often by progress, and at once
                by anything else.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._metrics = folder / "metrics.jsonl"
        self._lines = folder / "training.log"
        self._status = folder / "status.json"
        self._clock = clock
        self._now = now
        self._status_every_s = status_every_s
        self._written_s: float | None = None
        self._line_s: dict[str, float] = {}
        # Finished kernels are passed over by a run that resumes, and say nothing then.
        self._board = Board(kernels=_earlier_kernels(self._status))

    def __call__(self, event: Event) -> None:
        """Log one event."""
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(to_json(event) + "\n")
        if self._has_line(event):
            stamp = self._now().isoformat(timespec="seconds")
            with self._lines.open("a", encoding="utf-8") as file:
                file.write(f"{stamp} {in_words(event)}\n")
        self._board.take(event)
        if self._is_due(event):
            self._written_s = self._clock()
            write_json(self._status, {"updated": self._now().isoformat(), **self._board.to_dict()})

    def _has_line(self, event: Event) -> bool:
        """Return whether the event gets a line in `training.log`."""
        if not isinstance(event, KernelProgress):
            return True
        row = self._board.kernels.get(event.kernel)
        before = None if row is None else row.progress
        told_s = self._line_s.get(event.kernel)
        has_line = (
            told_s is None
            or before is None
            or event.step >= event.num_steps
            or event.dev_bits_per_byte != before.dev_bits_per_byte
            or self._clock() - told_s >= LINE_EVERY_S
        )
        if has_line:
            self._line_s[event.kernel] = self._clock()
        return has_line

    def _is_due(self, event: Event) -> bool:
        if not isinstance(event, KernelProgress) or self._written_s is None:
            return True
        if event.step >= event.num_steps:
            return True
        return self._clock() - self._written_s >= self._status_every_s


def _earlier_kernels(path: Path) -> dict[str, KernelRow]:
    """Return the rows of a status file; none when it is missing, damaged or of another version."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["kernels"]
        kernels = {name: KernelRow.of(values) for name, values in rows.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    for row in kernels.values():
        if row.state in ("STAGED", "RUNNING"):
            row.state, row.reason = "STOPPED", "the run before this one ended here"
    return kernels
