"""Whether the process of a member lives, and how the process is killed, on whatever node it runs.

A port, so that the way to other nodes can be another one: `OwnNode` knows only the processes of the
registry's own node, and says of all others that it does not know.
"""

import os
import signal
from contextlib import suppress
from typing import Protocol

from actors import _ray


class ProcessControl(Protocol):
    """Looks at processes of members and kills them, by process id and node."""

    async def is_alive(self, pid: int, node: str) -> bool | None:
        """Return whether a process lives; None when that is not known."""

    async def kill(self, pid: int, node: str) -> bool:
        """Kill a process at once; return False when the process could not be reached."""


class OwnNode:
    """Processes of the node of the caller; nothing is known of processes of other nodes."""

    async def is_alive(self, pid: int, node: str) -> bool | None:
        """Return whether a process of this node lives; None for a process of another node."""
        return _ray.is_alive(pid, node) if pid and node == _ray.node_name() else None

    async def kill(self, pid: int, node: str) -> bool:
        """Kill a process of this node; return False for another node, or when it has ended."""
        if not _ray.is_alive(pid, node):
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True
