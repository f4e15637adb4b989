"""The table that the registry publishes: its next version, made from the members that are up."""

import asyncio
import os
import time
from dataclasses import replace

from actors.registry.heartbeat import ANSWER_S
from actors.registry.members import Members
from actors.registry.metrics_exports import Exports
from actors.registry.persistence import Persistence
from actors.registry.table_broadcast import TableBroadcast
from actors.registry_messages import Snapshot
from constellation.records import KernelSite, Overview, Table


class Publisher:
    """Holds the table, and publishes it to routers, the run folder and the metrics.

    Args:
        table: The first table; not published yet.
        members: Where kernels are served, and how members are.
        files: Writes the table into the run folder.
        exports: Shows the table's version in the metrics.

    Attributes:
        table: The table in force. Versions are given by `publish`.
        start_problem: What is wrong with how processes are started; empty when nothing is.
        overview: What routers know of releases, nodes and training.
        published: Event that every published version sets; clear the event before waiting for it.
    """

    def __init__(
        self, table: Table, members: Members, files: Persistence, exports: Exports
    ) -> None:
        self.table = table
        self.start_problem = ""
        self.overview = Overview()
        self.published = asyncio.Event()
        self._members = members
        self._files = files
        self._exports = exports
        self._broadcast = TableBroadcast(time.monotonic, self._publish_after)

    def publish(self) -> list["asyncio.Task[None]"]:
        """Make the next version of the table, from who is up; send and write the version.

        Returns:
            Tasks that end when a router has taken the table, or has died.
        """
        members = self._members
        self.table = replace(
            self.table,
            version=self.table.version + 1,
            sites=tuple(
                _served(site, members.endpoints_of(site.name)) for site in self.table.sites
            ),
        )
        sent = self.send()
        self._exports.count(self.table.version, members.health(), members.restarts())
        self.published.set()
        self._files.keep(self.table, members.remembered())
        return sent

    async def publish_and_wait(self) -> None:
        """Publish the next version; return when every router that lives has taken the version."""
        sent = self.publish()
        if sent:
            # A router that is down reads this version from the run folder when it starts.
            await asyncio.wait(sent, timeout=ANSWER_S)

    def send(self) -> list["asyncio.Task[None]"]:
        """Send routers the table when it changed, and otherwise what changed in health."""
        snapshot = Snapshot(
            table=self.table,
            health=self._members.health(),
            registry_pid=os.getpid(),
            routers=self._members.router_health(),
            start_problem=self.start_problem,
            overview=self.overview,
        )
        sent = self._broadcast.send(self._members.routers, snapshot)
        self._exports.show_lags(self._broadcast.lags())
        return sent

    def _publish_after(self, newest: int) -> None:
        """Publish a table that is newer than a version that a router has."""
        if newest > self.table.version:
            self.table = replace(self.table, version=newest)
            self.publish()


def _served(site: KernelSite, endpoints: tuple[str, ...]) -> KernelSite:
    """Return the row of a kernel with the addresses of the processes that serve the kernel now."""
    first, more = (endpoints[0], endpoints[1:]) if endpoints else (None, ())
    return replace(site, endpoint=first, more_endpoints=more)
