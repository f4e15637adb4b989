"""Keep a run within its budget: count usage, warn, and stop the workers at the limit."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from constellation.errors import TrainingError
from training.json_files import write_json
from training.progress.events import Event, KernelProgress, OnEvent
from training.recipe_running import BudgetSection
from training.runs.budget import Meter

USAGE_FILE: Final = "budget.json"
"""File with the seconds and tokens that the run has used, over all resumed parts."""

SAVE_EVERY_S: Final = 5.0
"""Seconds between two writes of the file: a killed run loses at most so much of its usage."""


class BudgetKeeper:
    """Applies the budget of one run to its events."""

    def __init__(
        self, budget: BudgetSection, folder: Path, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start the clock, and continue from the usage stored in `folder`."""
        self._file = folder / USAGE_FILE
        self._meter = Meter(budget, _read_usage(self._file))
        self._clock = clock
        self._started_s = self._saved_s = clock()

    @contextmanager
    def watch(self, stop_file: Path, tell: OnEvent) -> Iterator[OnEvent]:
        """Yield a function for the events of training; make `stop_file` when the budget is used up.

        Args:
            stop_file: Workers that see it write a checkpoint and stop.
            tell: Called with all events, including the warnings.

        Raises:
            BudgetUsedUp: Nothing is left to begin with.
        """
        self._count(tell)
        self.raise_if_used_up()

        def take(event: Event) -> None:
            tell(event)
            tokens = {event.kernel: event.tokens} if isinstance(event, KernelProgress) else {}
            self._count(tell, tokens)
            if self._meter.verdict() is not None and not stop_file.exists():
                stop_file.touch()

        try:
            yield take
        finally:
            self._count(tell)
            self._save()

    def raise_if_used_up(self) -> None:
        """Raise BudgetUsedUp when a budget is used up."""
        verdict = self._meter.verdict()
        if verdict is not None:
            raise verdict

    def _count(self, tell: OnEvent, tokens: dict[str, int] | None = None) -> None:
        now_s = self._clock()
        self._meter.count(seconds=now_s - self._started_s, tokens=tokens)
        for warning in self._meter.warnings():
            tell(warning)
        if now_s - self._saved_s >= SAVE_EVERY_S:
            self._save()

    def _save(self) -> None:
        self._saved_s = self._clock()
        write_json(self._file, self._meter.to_dict())


def _read_usage(path: Path) -> dict[str, Any] | None:
    try:
        usage: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        Meter(BudgetSection(), usage)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path} cannot be read ({error}), so the usage of this run is unknown; fix or "
            "delete the file"
        ) from error
    return usage
