"""Whether the process of a member lives, and how the process is killed, on whatever node it runs.

`actors/registry/nodes.py` keeps the protocol for the registry; tests bring processes of their own.
"""

from typing import Protocol


class ProcessControl(Protocol):
    """Looks at processes of members and kills them, by process id and node."""

    async def is_alive(self, pid: int, node: str) -> bool | None:
        """Return whether a process lives; None when that is not known."""

    async def kill(self, pid: int, node: str) -> bool:
        """Kill a process at once; return False when the process could not be reached."""
