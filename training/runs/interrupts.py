"""Ctrl-C as a wish that is granted when the work allows, not where it happens to strike."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ctrl_c_noted(then: Callable[[], None] = lambda: None) -> Iterator[threading.Event]:
    """Yield what Ctrl-C sets instead of interrupting; the second one interrupts.

    Args:
        then: Called once, in the main thread, at the first.
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
