"""Turn Ctrl-C into a flag that the work checks, instead of an interrupt at any place."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from training.run_files.shared_files import RunFiles


@contextmanager
def ctrl_c_noted(then: Callable[[], None] = lambda: None) -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets; the second Ctrl-C interrupts.

    Args:
        then: Called once, in the main thread, at the first Ctrl-C.
    """
    pressed = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()
        then()

    if threading.current_thread() is not threading.main_thread():
        yield pressed  # elsewhere Python lets nobody take signals
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


class StopFile:
    """Says whether the file that stops a run exists; a worker asks before every step."""

    def __init__(self, path: Path, files: RunFiles, *, every_s: float) -> None:
        """Ask `files` for `path`, at most once in `every_s` seconds."""
        self._path = path
        self._files = files
        self._every_s = every_s
        self._asked_s = -every_s
        self._found = False

    def __call__(self) -> bool:
        """Return whether the file existed when it was last looked for."""
        now_s = time.monotonic()
        if not self._found and now_s - self._asked_s >= self._every_s:
            self._asked_s = now_s
            self._found = self._files.exists(self._path)
        return self._found
