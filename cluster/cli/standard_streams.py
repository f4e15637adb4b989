"""Replace standard output and error by streams that survive a full disk or a closed reader.

An error on standard output ends the program by `OutputLost`; text that cannot be written to
standard error is dropped. A stream that was closed before the program began is opened as /dev/null:
otherwise the next file that is opened would get its descriptor number.
"""

import io
import os
import sys
import time
from typing import BinaryIO, TextIO

EXIT_UNREAD = 141
"""Exit code when the reader of the output has gone, as shells show it for SIGPIPE."""


class OutputLost(Exception):
    """Standard output cannot be written any more.

    Deliberately neither an OSError nor a `ConstellationError`: handlers of those are meant for
    files or requests.

    Attributes:
        is_unread: Whether the reader of the output, such as `head`, has ended.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror}")
        self.is_unread = isinstance(error, BrokenPipeError)


class Activity:
    """Time of the last output, and whether a terminal shows an unfinished line."""

    def __init__(self) -> None:
        self.last_s = time.monotonic()
        self.is_mid_line = False

    def note(self, text: str, stream: TextIO) -> None:
        """Record that `text` is written to `stream`."""
        self.last_s = time.monotonic()
        if text and stream.isatty():
            self.is_mid_line = not text.endswith("\n")


class _Stream(io.TextIOWrapper):
    """A standard stream whose activity is recorded; subclasses decide what a failed write does."""

    activity: Activity

    def write(self, text: str) -> int:
        self.activity.note(text, self)
        try:
            return super().write(text)
        except OSError as error:
            self._fail(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        """Drop the text that cannot be written."""


class _Output(_Stream):
    """Standard output that raises `OutputLost` when it cannot be written."""

    def _fail(self, error: OSError) -> None:
        raise OutputLost(error) from error


def prepare() -> Activity:
    """Replace Python's standard streams; return the record of their activity."""
    for number in (0, 1, 2):
        _open_closed(number)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as we run
    activity = Activity()
    sys.stdout = _wrapped(_Output, sys.stdout, 1, activity)
    sys.stderr = _wrapped(_Stream, sys.stderr, 2, activity)
    return activity


def discard_output() -> None:
    """Send standard output to /dev/null from now on, unwritten text included."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def _open_closed(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        # The lowest number that is free is taken, and those below are open.
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _wrapped(
    kind: type[_Stream], stream: TextIO | None, number: int, activity: Activity
) -> _Stream:
    encoding, is_lined = "utf-8", number == 2
    if isinstance(stream, io.TextIOWrapper):
        encoding, is_lined = stream.encoding, stream.line_buffering
        buffer: BinaryIO = stream.detach()
    else:
        buffer = open(number, "wb", closefd=False)  # noqa: SIM115 - open as long as we run
    # A terminal that cannot show a character must not end an answer.
    made = kind(buffer, encoding=encoding, errors="replace", line_buffering=is_lined)
    made.activity = activity
    return made
