"""What a router routes by at a time, and what the registry tells it."""

from dataclasses import dataclass

from actors.router.interfaces import TextGeometry
from constellation.records import KernelHealth, Table
from constellation.routing.policy import RoutingPolicy
from constellation.wire.constellation_service import RouterHealth


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What the registry tells routers."""

    table: Table
    health: dict[str, KernelHealth]
    registry_pid: int
    routers: tuple[RouterHealth, ...] = ()
    """All that serve clients."""
    start_problem: str = ""
    """What is wrong with how processes are started; empty when nothing is."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What queries are routed by: a table, and the coordizer whose basins it holds.

    A release may bring other coordinates, so that both change together, and only together.
    """

    snapshot: Snapshot
    coordizer: TextGeometry
    policy: RoutingPolicy
