"""Starting processes for kernels that join, and undoing starts."""

from collections.abc import Awaitable, Callable, Iterable

from actors.registry import actor_lifecycle
from actors.registry.drain import Draining
from actors.registry.members import Members
from actors.spec import DeploymentSpec
from constellation.runtime.placement import Placement


class KernelStarts:
    """Has processes serve kernels that no table names yet.

    Args:
        spec: Of the deployment.
        members: Processes that are supervised.
        draining: Processes that finish their last answers.
        write: Makes a placement the one in force and writes it, before processes start by it.

    Attributes:
        spec: As given.
        draining: As given.
        write: As given.
        ahead: Processes that were started for a release that is to be served -> its number.
    """

    def __init__(
        self,
        spec: DeploymentSpec,
        members: Members,
        draining: Draining,
        write: Callable[[Placement], Awaitable[None]],
    ) -> None:
        self.ahead: dict[str, int] = {}
        self.spec = spec
        self.draining = draining
        self.write = write
        self._members = members

    async def start(self, name: str, after: Placement, release: int) -> None:
        """Have processes serve a kernel that joins.

        Args:
            name: Name of the kernel.
            after: The placement in which the kernel has its processes.
            release: Number of the release that the kernel is loaded from.

        Raises:
            GrowthRefused: A process or the kernel did not come up.
        """
        members = after.members_of(name)
        await self.draining.wait_for(name, *members)  # a namesake finishes its last answers
        processes = self._members.processes
        self.ahead |= {member: release for member in members if member not in processes}
        # Written first: a process that dies meanwhile restarts with its kernels.
        await self.write(after)
        for member in members:
            await self.start_at(name, member, release)

    async def start_at(self, name: str, member: str, release: int) -> None:
        """Have one process serve a kernel that is placed there; start the process if need be.

        Raises:
            GrowthRefused: The process or the kernel did not come up.
        """
        process, announcement = await actor_lifecycle.start_kernel(
            self.spec,
            member,
            self._members.processes.get(member),
            name,
            release,
            self._members.placement.location_of(member).node,
        )
        self._members.adopt(process, announcement)

    async def withdraw(self, names: Iterable[str], before: Placement) -> None:
        """Undo `start` for kernels, whether they were started or not."""
        placed = self._members.placement
        self.ahead.clear()
        await self.write(before)
        for name in names:
            for member in placed.members_of(name):
                stays = member in before.processes
                process = self._members.processes.get(member) if stays else None
                if not stays:
                    self._members.drop(member)
                await actor_lifecycle.withdraw(self.spec, member, process, name)
