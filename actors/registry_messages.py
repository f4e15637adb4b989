"""Messages between the registry and routers: the whole table when it changed, else only health.

A table of 240 kernels is 270 KB, and says nothing new twice a second. So the registry numbers what
it knows of members' health (a *revision*), remembers which table and revision every router
acknowledged, and sends the difference. A router that does not hold what a difference starts from
leaves the difference out and says what it holds; the registry then sends all again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from constellation.records import KernelHealth, Overview, RouterStatus, Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What a router holds: its answer to every message of the registry."""

    table_version: int
    """Version of the table by which the router routes; 0 before the first table."""
    registry_pid: int = 0
    """Process of the registry whose revisions these are; revisions of two registries differ."""
    revision: int = 0
    """Number of the latest state of health that the router was sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """All that routers know from the registry: the table, and how kernels and routers are."""

    table: Table
    health: dict[str, KernelHealth]
    """Kernel -> how its process is."""
    registry_pid: int
    """Process of the registry; 0 for a table that was read from the run folder."""
    routers: tuple[RouterStatus, ...] = ()
    """All routers that serve clients."""
    start_problem: str = ""
    """What is wrong with how processes are started; empty when nothing is."""
    overview: Overview = field(default_factory=Overview)
    """Releases, nodes, and a training in the artifacts folder."""
    revision: int = 0
    """Number of this state of health, which rises with every change of the fields above but the
    first and third."""

    @property
    def held(self) -> Held:
        """What a router holds after it has taken this snapshot."""
        return Held(
            table_version=self.table.version,
            registry_pid=self.registry_pid,
            revision=self.revision,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthChange:
    """What changed in the health of members since a revision; the table is the same.

    A change without contents says only that the registry lives: it is a heartbeat.
    """

    table_version: int
    registry_pid: int
    base: int
    """Revision that a router has to hold for this change to apply."""
    revision: int
    """Revision that the router holds afterwards."""
    kernels: tuple[KernelHealth, ...] = ()
    """Kernels whose health changed, whole."""
    routers: tuple[RouterStatus, ...] | None = None
    """All routers, when one of them changed; None: all are as before."""
    start_problem: str | None = None
    """As in `Snapshot`; None: as before."""
    overview: Mapping[str, Any] | None = None
    """Fields of the overview that changed; None: all are as before."""

    @property
    def starts_from(self) -> Held:
        """What a router has to hold for this change to apply."""
        return Held(
            table_version=self.table_version, registry_pid=self.registry_pid, revision=self.base
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedKernels:
    """What a process that starts is to serve."""

    kernels: tuple[str, ...]
    """Names of the kernels."""
    release: int
    """Number of the release that they are of."""
