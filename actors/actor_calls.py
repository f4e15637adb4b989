"""The calls between actors, as types: what every kind of actor answers, and to whom.

Ray finds a method of an actor by name when it is called, so that neither the type checker nor a
rename sees the call. These protocols say which calls there are. `actors/_ray.py` returns handles as
one of them, and every process class names the protocol that it keeps. A call is sent when it is
made, not when its result is awaited. Tests pass plain classes with the same methods.
"""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from actors.log_reader import LogPart
    from actors.registry_messages import HealthChange, Held, PlacedKernels, Snapshot
    from actors.spec import Announcement, NodeAnnouncement, StartState
    from constellation.records import Change, Changed, NodeState, Table


class MemberCalls(Protocol):
    """What routers and processes of kernels answer to the registry."""

    def where(self) -> "Awaitable[Announcement]":
        """Return where the process listens and which kernels it serves."""
        ...

    def drain(self, grace_s: float) -> Awaitable[None]:
        """Refuse new requests and finish the running ones, within `grace_s` seconds."""
        ...


class RouterCalls(MemberCalls, Protocol):
    """What a router answers to the registry."""

    def prepare(self, table: "Table") -> Awaitable[None]:
        """Read the coordizer of a table that is to come.

        Raises:
            ArtifactError: The coordizer is missing or damaged.
        """
        ...

    def update(self, snapshot: "Snapshot") -> "Awaitable[Held]":
        """Route by a table from now on; return what the router holds then."""
        ...

    def update_health(self, change: "HealthChange") -> "Awaitable[Held]":
        """Note what changed in the health of members; return what the router holds then."""
        ...


class KernelCalls(MemberCalls, Protocol):
    """What a process of kernels answers to the registry."""

    def join(self, kernel: str, release: int) -> "Awaitable[Announcement]":
        """Serve one more kernel of a release.

        Raises:
            ArtifactError: A file of the kernel is damaged.
        """
        ...

    def leave(self, kernel: str, grace_s: float) -> Awaitable[None]:
        """Stop serving a kernel when its requests are finished, after `grace_s` at the latest."""
        ...

    def load_next(self, release: int) -> Awaitable[None]:
        """Load the kernels of a release beside the ones that are served.

        Raises:
            ArtifactError: A file is damaged, or of another vocabulary.
        """
        ...

    def take_next(self, release: int) -> "Awaitable[Announcement]":
        """Serve the kernels of a release."""
        ...

    def forget_next(self) -> Awaitable[None]:
        """Drop what `load_next` loaded."""
        ...


class RegistryCalls(Protocol):
    """What the registry answers to its members and to the launcher."""

    def announced(self, announcement: "Announcement") -> Awaitable[None]:
        """Note where a process listens."""
        ...

    def ready(self) -> Awaitable[dict[str, Any]]:
        """Wait until every member is up; return the state."""
        ...

    def state(self, starts: "StartState | None" = None) -> Awaitable[dict[str, Any]]:
        """Return endpoints and processes of all members."""
        ...

    def change(self, change: "Change") -> "Awaitable[Changed]":
        """Change what is served."""
        ...

    def placed(self, member: str) -> "Awaitable[PlacedKernels]":
        """Return which kernels a process serves, and of which release.

        Raises:
            DeploymentError: No kernel is placed in the process.
        """
        ...

    def manifest(self, release: int) -> Awaitable[bytes]:
        """Return the manifest of a release; raises `ArtifactError` when it cannot be read."""
        ...

    def blob_endpoints(self) -> Awaitable[tuple[str, ...]]:
        """Return where nodes deliver blobs, the node of the registry first."""
        ...

    def drain(self, grace_s: float) -> Awaitable[None]:
        """Stop supervising, and have all members drain."""
        ...


class WatcherCalls(Protocol):
    """What the process that watches the registry on a Ray cluster answers."""

    def watched(self) -> Awaitable[None]:
        """Return once the state file is written and the registry is watched."""
        ...

    def stop(self) -> Awaitable[None]:
        """Stop watching, and remove the state file."""
        ...


class NodeCalls(Protocol):
    """What the actor of a machine answers to the registry and to the processes of the machine."""

    def where(self) -> "Awaitable[NodeAnnouncement]":
        """Return what the machine is, and where the actor listens."""
        ...

    def provide(self, release: int, folders: tuple[str, ...]) -> Awaitable[str]:
        """Make parts of a release readable on the machine; return the folder of the store.

        Raises:
            ArtifactError: No source has a file undamaged.
        """
        ...

    def is_alive(self, pid: int) -> Awaitable[bool]:
        """Return whether a process of the machine runs an actor."""
        ...

    def kill(self, pid: int) -> Awaitable[bool]:
        """Kill a process of the machine that runs an actor; return whether there was one."""
        ...

    def read_log(self, member: str, offset: int | None, num_lines: int) -> "Awaitable[LogPart]":
        """Return the last lines of a member's log, or what follows `offset`."""
        ...

    def prove_ports(self, addresses: tuple[tuple[str, int], ...]) -> Awaitable[None]:
        """Check that servers can listen at addresses of the machine.

        Raises:
            DeploymentError: One is in use, or is no address of the machine.
        """
        ...

    def report(self) -> "Awaitable[NodeState]":
        """Return how loaded the machine is."""
        ...


class MakerCalls(Protocol):
    """What the process that makes a release answers to the registry."""

    def make(self, change: "Change") -> Awaitable[int]:
        """Write the release that follows the current one by a change; return its number."""
        ...
