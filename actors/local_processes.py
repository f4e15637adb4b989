"""Processes of actors on this machine, by their process ids.

A process id means nothing on another machine, and ids are used again: both functions look at the
command line, which Ray sets for its workers.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path


def is_actor(pid: int) -> bool:
    """Return whether a process of this machine runs an actor of Ray."""
    if pid <= 0:
        return False
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    except OSError:
        return False


def kill_actor(pid: int) -> bool:
    """Kill a process of this machine unless it runs no actor; return whether it was killed."""
    if not is_actor(pid):
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return True
