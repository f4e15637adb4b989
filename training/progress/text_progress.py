"""Report the progress of preparing text as notices, at most one every few seconds."""

import time
from collections.abc import Callable

from training.progress.events import Notice, OnEvent

EVERY_S = 10.0
"""Least seconds between two notices, and before the first: small text has none."""

_BYTES = "read text"


class TextProgress:
    """Turns steps of preparing text into notices."""

    def __init__(self, on_event: OnEvent, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Call `on_event` with notices; `clock` returns seconds that never run backwards."""
        self._on_event = on_event
        self._clock = clock
        self._last_s = clock()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report that so much of a step is done."""
        if self._clock() - self._last_s < EVERY_S:
            return
        self._last_s = self._clock()
        if what == _BYTES:
            shown = f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB"
        else:
            shown = f"{done:,} of {total:,}"
        self._on_event(Notice(text=f"{what}: {shown}"))
