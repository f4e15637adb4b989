"""Kernels that move to other processes: because their node has gone, or because that is better.

A process on a node that has gone is replaced at once. In all other cases a kernel is served by its
new process before its old process is taken out of the table and drained.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from actors.actor_calls import KernelCalls
from actors.registry import actor_lifecycle
from actors.registry.kernel_placing import KernelPlacing
from actors.registry.kernel_starts import KernelStarts
from actors.registry.members import Members
from actors.registry.publisher import Publisher
from actors.spec import Announcement
from constellation.errors import GrowthRefused
from constellation.runtime.placement import Placement

logger = logging.getLogger(__name__)

Served = tuple[str, str]
"""A kernel and a member that serves the kernel."""


class KernelMoves:
    """Carries out changes of the placement that leave the kernels of the table as they are.

    Args:
        members: Processes that are supervised.
        publisher: Publishes where kernels are served.
        starts: Starts processes.
        placing: Decides where kernels are served.
        agree: Has a process serve what is placed there.
    """

    def __init__(
        self,
        members: Members,
        publisher: Publisher,
        starts: KernelStarts,
        placing: KernelPlacing,
        agree: Callable[[Announcement], object],
    ) -> None:
        self._members = members
        self._publisher = publisher
        self._starts = starts
        self._placing = placing
        self._agree = agree

    async def follow_nodes(self) -> None:
        """Place kernels anew after nodes joined or left: those of lost nodes, those without room.

        Kernels that are served stay, except replicas that share a node and need not.
        """
        table, before = self._publisher.table, self._members.placement
        after = await self._placing.fitted(table, before)
        if after != before:
            await self.follow(after)
        better = await self._placing.spread(table, after)
        if better != after:
            await self.move(better)

    async def rebalance(self) -> tuple[str, ...]:
        """Move kernels so that nodes are about equally full; return the kernels that moved."""
        table, before = self._publisher.table, self._members.placement
        after = await self._placing.rebalanced(table, before)
        return () if after == before else await self.move(after)

    async def follow(self, after: Placement) -> None:
        """Serve kernels in further processes; they are published when they announce themselves.

        Processes that the placement has at other places, since their nodes have gone, are replaced
        at once.
        """
        gone = lost_members(self._members.placement, after)
        if gone:
            await self._forget_lost(gone)
        await self._starts.write(after)
        self._members.start_placed()
        for member, announcement in tuple(self._members.announcements.items()):
            if self._members.missing(member):
                self._agree(announcement)
        self._publisher.publish()

    async def _forget_lost(self, gone: Sequence[str]) -> None:
        """Take processes out of the table whose node has gone; free their names."""
        logger.warning("processes lost with their node", extra={"members": list(gone)})
        for member in gone:
            self._members.drop(member)
        self._members.placement = self._members.placement.without_members(gone)
        self._publisher.publish()
        # Their names are used again, and are free as soon as Ray has forgotten the actors.
        await asyncio.gather(
            *(actor_lifecycle.remove(self._starts.spec, member) for member in gone)
        )
        for member in gone:
            await self._members.close_connection(member)

    async def move(self, after: Placement) -> tuple[str, ...]:
        """Move kernels to other processes, each before its old process ends.

        Returns:
            The kernels that moved. A kernel whose new process does not come up stays where it was.
        """
        before = self._members.placement
        joined, leaving = pairs(after) - pairs(before), pairs(before) - pairs(after)
        await self._starts.write(_union(before, after))
        late = {kernel for kernel, _ in await self._not_started(joined)}
        moved = {kernel for kernel, _ in leaving} - late
        ending = {each for each in leaving if each[0] in moved}
        for kernel, member in sorted(each for each in joined if each[0] in late):
            await self._withdraw(kernel, member)
        left = [
            (kernel, self._members.release(kernel, member)) for kernel, member in sorted(ending)
        ]
        await self._starts.write(replace(self._members.placement, pending=after.pending))
        await self._publisher.publish_and_wait()
        for kernel, (member, process, others_stay) in left:
            await self._drain(kernel, member, process, others_stay)
        return tuple(sorted(moved))

    def forget(self, name: str) -> Callable[[], Awaitable[None]]:
        """Remove a kernel from the placement; return what drains it once no table names it."""
        left = self._members.forget(name)

        async def leave() -> None:
            for member, process, others_stay in left:
                await self._drain(name, member, process, others_stay)

        return leave

    async def _drain(
        self, kernel: str, member: str, process: KernelCalls, others_stay: bool
    ) -> None:
        """Have a process finish the answers of a kernel, and end unless it serves others."""
        if others_stay:
            self._starts.draining.drain_kernel(kernel, process)
        else:
            await self._members.close_connection(member)
            self._starts.draining.drain_process(member, process)

    async def _withdraw(self, kernel: str, member: str) -> None:
        """Undo the start of a kernel in a process that is to serve others or to end."""
        members = self._members
        members.placement = members.placement.dropped(kernel, member)
        process = members.processes.get(member)
        if member not in members.placement.processes:
            members.drop(member)
            process = None
        await actor_lifecycle.withdraw(self._starts.spec, member, process, kernel)

    async def _not_started(self, wanted: Iterable[Served]) -> set[Served]:
        """Have processes serve kernels, all at once; return which kernels are not served where."""
        order, release = sorted(wanted), self._publisher.table.release
        starts = (self._starts.start_at(kernel, member, release) for kernel, member in order)
        results = await asyncio.gather(*starts, return_exceptions=True)
        failed = set()
        for each, result in zip(order, results, strict=True):
            if isinstance(result, GrowthRefused):
                logger.error(
                    "kernel does not move", extra={"kernel": each[0], "reason": str(result)}
                )
                failed.add(each)
            elif result is not None:
                raise result
        return failed


def lost_members(before: Placement, after: Placement) -> tuple[str, ...]:
    """Return the processes that a later placement does not have, or has at another place."""
    return tuple(
        member
        for member in before.processes
        if member not in after.processes or before.location_of(member) != after.location_of(member)
    )


def pairs(placement: Placement) -> set[Served]:
    """Return every kernel with every process that is to serve it."""
    return {
        (kernel, member) for member, kernels in placement.processes.items() for kernel in kernels
    }


def _union(before: Placement, after: Placement) -> Placement:
    """Return the placement with the processes of two placements."""
    members = dict.fromkeys((*before.processes, *after.processes))
    processes = {
        member: tuple(
            dict.fromkeys((*before.processes.get(member, ()), *after.processes.get(member, ())))
        )
        for member in members
    }
    locations = {**before.locations, **after.locations}
    return replace(after, processes=processes, locations=locations)
