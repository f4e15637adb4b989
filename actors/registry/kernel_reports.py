"""What processes last said of their kernels, and the health of every kernel that follows.

Pure: `members.py` says which processes serve a kernel and how they are.
"""

from collections.abc import Sequence
from dataclasses import replace

from constellation.records import KernelDescription, KernelHealth, ReplicaHealth
from constellation.runtime.supervisor import Member


class KernelReports:
    """Holds the latest report of every process about every kernel that the process serves."""

    def __init__(self) -> None:
        self._reports: dict[tuple[str, str], KernelHealth] = {}

    def note(self, described: KernelDescription, state: Member, node: str) -> None:
        """Note what a process said of a kernel.

        Args:
            described: What the process said.
            state: Of the process.
            node: Id of the node of the process.
        """
        self._reports[described.name, state.name] = KernelHealth(
            name=described.name,
            up=True,
            pid=described.pid,
            num_restarts=state.num_restarts,
            queue_depth=described.queue_depth,
            num_running=described.num_running,
            capabilities=described.capabilities,
            vocabulary=described.vocabulary,
            node=node,
        )

    def forget(self, kernel: str, member: str) -> None:
        """Forget what a process said of a kernel."""
        self._reports.pop((kernel, member), None)

    def health(self, kernel: str, state: Member, *, up: bool, node: str) -> KernelHealth:
        """Return the health of a kernel in one process: the last report, if nothing changed since.

        Args:
            kernel: Name of the kernel.
            state: Of the process.
            up: Whether the process serves the kernel now.
            node: Id of the node of the process.
        """
        known = self._reports.get((kernel, state.name))
        if known is not None and (known.pid, known.up) == (state.pid, up):
            return known
        pid, num_restarts = state.pid if up else 0, state.num_restarts
        return KernelHealth(name=kernel, up=up, pid=pid, num_restarts=num_restarts, node=node)


def joint_health(found: Sequence[tuple[Member, KernelHealth]], problem: str) -> KernelHealth:
    """Return the health of a kernel that several processes serve.

    Args:
        found: State of each process, and the health of the kernel there; at least one.
        problem: Why fewer processes serve the kernel than are wanted; empty when as many do.
    """
    first = next((health for _, health in found if health.up), found[0][1])
    return replace(
        first,
        num_restarts=sum(health.num_restarts for _, health in found),
        queue_depth=sum(health.queue_depth for _, health in found if health.up),
        num_running=sum(health.num_running for _, health in found if health.up),
        replicas=tuple(_replica(state, health) for state, health in found),
        problem=problem,
    )


def _replica(state: Member, health: KernelHealth) -> ReplicaHealth:
    return ReplicaHealth(
        member=state.name,
        endpoint=state.endpoint if health.up else None,
        pid=health.pid if health.up else 0,
        num_restarts=health.num_restarts,
        queue_depth=health.queue_depth if health.up else 0,
        num_running=health.num_running if health.up else 0,
        node=health.node,
    )
