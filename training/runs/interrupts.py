"""Turn Ctrl-C into a flag that the work checks, instead of an interrupt at any place."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


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
