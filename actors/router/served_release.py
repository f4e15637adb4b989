"""What a router routes queries by at a time: the table and the coordizer of one release."""

import asyncio
import math
import time
from dataclasses import dataclass, replace

from actors.registry_messages import HealthChange, Held, Snapshot
from actors.router.interfaces import CoordizerSource, TextGeometry
from constellation.errors import ServiceUnavailable
from constellation.records import KernelSite, Rule, Table
from constellation.routing.policy import RoutingPolicy


@dataclass(frozen=True, slots=True)
class Serving:
    """A table, and the coordizer whose basins the table holds.

    A release may bring other coordinates, so that both change together, and only together.
    """

    snapshot: Snapshot
    coordizer: TextGeometry
    policy: RoutingPolicy

    def with_health(self, change: HealthChange) -> "Serving":
        """Return the same table and policy with what changed in the health of members."""
        before = self.snapshot
        problem = change.start_problem
        snapshot = replace(
            before,
            health={**before.health, **{each.name: each for each in change.kernels}},
            routers=before.routers if change.routers is None else change.routers,
            start_problem=before.start_problem if problem is None else problem,
            overview=replace(before.overview, **(change.overview or {})),
            revision=change.revision,
        )
        return replace(self, snapshot=snapshot)


def routes_equally(before: Table, after: Table) -> bool:
    """Return whether two tables are known to be the same one, without looking at any basin.

    A release is never changed, so release, version and endpoints say it all. Tables of no release
    (number 0) are never known to be the same.
    """
    return (
        before.release > 0
        and _identity(before) == _identity(after)
        and all(
            (old.name, old.endpoints) == (new.name, new.endpoints)
            for old, new in zip(before.sites, after.sites, strict=True)
        )
    )


def _identity(table: Table) -> tuple[int, int, str, int]:
    return table.release, table.version, table.coordizer_hash, len(table.sites)


class ServedRelease:
    """Holds the table that a router routes by, and reads the coordizer that belongs to the table.

    Args:
        coordizers: Where the coordizer of a table is read from.
        rule: How basins are compared when a query does not say.
        top_k: Kernels that a route names when a query does not say, at most.
        phi_weighting: Whether kernels of greater integration count more in a mixture.
    """

    def __init__(
        self, coordizers: CoordizerSource, *, rule: Rule, top_k: int, phi_weighting: bool
    ) -> None:
        self._coordizers = coordizers
        self._rule = rule
        self._top_k = top_k
        self._phi_weighting = phi_weighting
        self._prepared: TextGeometry | None = None
        self._serving: Serving | None = None
        self._heard_s = -math.inf

    @property
    def now(self) -> Serving:
        """What queries are routed by now.

        Raises:
            ServiceUnavailable: The router has no table yet.
        """
        if self._serving is None:
            raise ServiceUnavailable("this router", "it has no table yet")
        return self._serving

    @property
    def sites(self) -> tuple[KernelSite, ...]:
        """Kernels of the table; none before the first table."""
        return () if self._serving is None else self._serving.snapshot.table.sites

    @property
    def held(self) -> Held:
        """What the registry is answered."""
        return Held(table_version=0) if self._serving is None else self._serving.snapshot.held

    def silent_s(self, now_s: float) -> float:
        """Return the seconds since the last message of the registry."""
        return now_s - self._heard_s

    async def prepare(self, table: Table) -> None:
        """Read the coordizer of a table that is to come, so that `update` need not wait for it.

        Raises:
            ArtifactError: The coordizer is missing or damaged.
        """
        self._prepared = await self._coordizer_of(table)

    async def update(self, snapshot: Snapshot) -> bool:
        """Route by this table from now on, unless it is older than the one in use.

        Returns:
            Whether the table is another one than before; without that the policy stays.

        Raises:
            ArtifactError: The coordizer cannot be read; what was served is served on.
        """
        table = snapshot.table
        coordizer = await self._coordizer_of(table)
        if table.version < self.held.table_version:  # of a registry that lost count
            return False
        self._heard_s = time.monotonic()
        if self._serving is not None and routes_equally(self._serving.snapshot.table, table):
            self._serving = replace(self._serving, snapshot=snapshot)
            return False
        self._serving = Serving(snapshot, coordizer, self._policy_of(table))
        if self._prepared is coordizer:  # else its table is still to come
            self._prepared = None
        return True

    def update_health(self, change: HealthChange) -> None:
        """Note what changed in the health of members, if the change starts from what is held."""
        if self._serving is not None and self.held == change.starts_from:
            self._serving = self._serving.with_health(change)
            self._heard_s = time.monotonic()

    def _policy_of(self, table: Table) -> RoutingPolicy:
        return RoutingPolicy(
            table,
            rule=self._rule,
            top_k=min(self._top_k, len(table.sites)),
            phi_weighting=self._phi_weighting,
        )

    async def _coordizer_of(self, table: Table) -> TextGeometry:
        held = (self._prepared, None if self._serving is None else self._serving.coordizer)
        for coordizer in held:
            if coordizer is not None and coordizer.hash == table.coordizer_hash:
                return coordizer
        return await asyncio.to_thread(self._coordizers.of_table, table)
