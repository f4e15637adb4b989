"""Prepare text in a process of its own, whose memory goes back to the system at its end.

The process ends with the process that started it. Its errors are raised here; Ctrl-C ends it.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

from constellation.errors import ConstellationError, TrainingError

OnStep = Callable[[str, int, int], None]
"""Called with what is done, how much of it is done, and how much there is."""

Result = TypeVar("Result")

_PROGRAM: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from training.text_process import serve; serve(int(sys.argv[1]))"
)

_END_S = 10.0
"""Seconds in which the process must end when it is told to."""


def no_step(what: str, done: int, total: int) -> None:
    """Accept a report of progress and do nothing."""


def run_apart(work: Callable[..., Result], *arguments: object, on_step: OnStep) -> Result:
    """Call `work(*arguments, on_step=...)` in a new process and return its result.

    Args:
        work: A function of a module, not a method or a function inside another.
        arguments: Values that can be pickled.
        on_step: Called here with what `work` reports.

    Raises:
        ConstellationError: As raised by `work`.
        OSError: As raised by `work`.
        TrainingError: The process was killed, such as for using too much memory.
    """
    ours, theirs = multiprocessing.Pipe()
    # Not by `multiprocessing`, which imports the caller's program again: a script that trains
    # without a check of `__name__` would start itself.
    command = [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), *sys.path]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    theirs.close()
    try:
        ours.send((work, arguments))
        result: Result = _receive(ours, on_step)
        return result
    except (EOFError, ConnectionError) as error:
        code = process.wait(_END_S)
        raise TrainingError(
            f"the process that prepares the text has ended with code {code}; a negative code is a "
            "signal, and -9 mostly a lack of memory: `constellation plan --train` says what the "
            "text takes"
        ) from error
    finally:
        ours.close()
        process.terminate()
        process.wait(_END_S)


def _receive(connection: Connection, on_step: OnStep) -> Any:
    while True:
        kind, value = connection.recv()
        if kind == "step":
            on_step(*value)
        elif kind == "error":
            raise value
        else:
            return value


def serve(descriptor: int) -> None:
    """Do the work that is received over an open connection, in the new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process decides
    connection = Connection(descriptor)
    work, arguments = connection.recv()
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()

    def on_step(*step: object) -> None:
        connection.send(("step", step))

    try:
        result = work(*arguments, on_step=on_step)
    except (ConstellationError, OSError) as error:
        connection.send(("error", error))
    else:
        connection.send(("result", result))


def _end_with(connection: Connection) -> None:
    """End this process when the other end of the connection is closed; nothing else is sent."""
    connection.poll(None)
    os._exit(1)
