"""Print progress lines on standard error while a program is silent, so that users see it works.

After three seconds in which a program has written nothing, a line says what the program does and
for how long. A program describes its current work by `doing` or `step`. On a terminal, `step` shows
a spinner.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cluster.cli.standard_streams import Activity

SILENCE_FIRST_S = 3.0
"""Seconds of silence before the first line."""
SILENCE_S = 5.0
"""Seconds of silence before every later line."""

LOOK_S = 0.5
"""Seconds between two checks whether a progress line is due."""

Words = str | Callable[[], str]
"""Description of the current work, or a function that returns it."""


class Liveness:
    """Decides when a progress line is due, and its text."""

    def __init__(self, program: str, *, now_s: float) -> None:
        self._program = program
        self._started_s = now_s
        self._said_s = now_s
        self._pause_s = SILENCE_FIRST_S
        self.words: Words = ""
        self.is_paused = False

    def line(self, activity: Activity, *, now_s: float) -> str | None:
        """Return the progress line that is due now, or None."""
        if self.is_paused or activity.is_mid_line:
            return None
        if now_s - max(activity.last_s, self._said_s) < self._pause_s:
            return None
        self._said_s, self._pause_s = now_s, SILENCE_S
        words = self.words if isinstance(self.words, str) else self.words()
        said = f"{self._program}: {words}" if words else self._program
        return f"{said} ({now_s - self._started_s:.0f} s)"


_current: Liveness | None = None


@contextmanager
def watched(program: str, activity: Activity) -> Iterator[None]:
    """Print progress lines from a thread while the block runs."""
    global _current  # noqa: PLW0603 - one program, one standard error
    _current = liveness = Liveness(program, now_s=time.monotonic())
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_S):
            line = liveness.line(activity, now_s=time.monotonic())
            if line is not None:
                print(line, file=sys.stderr, flush=True)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        _current = None


def doing(words: Words) -> None:
    """Set the description of the current work, for the next progress lines."""
    if _current is not None:
        _current.words = words


@contextmanager
def step(words: str) -> Iterator[Callable[[str], None]]:
    """Show what the block does: by a spinner on a terminal, by progress lines in a pipe.

    Yields:
        A function that changes the description.
    """
    from rich.console import Console

    before = "" if _current is None else _current.words
    console = Console(file=sys.stderr, highlight=False, markup=False)
    with console.status(f"{words} ...") as spinner:

        def change(now: str) -> None:
            spinner.update(f"{now} ...")
            doing(now)

        doing(words)
        try:
            yield change
        finally:
            doing(before)


@contextmanager
def paused() -> Iterator[None]:
    """Print no progress lines while the block waits for a person."""
    if _current is not None:
        _current.is_paused = True
    try:
        yield
    finally:
        if _current is not None:
            _current.is_paused = False
