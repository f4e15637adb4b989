"""The machines of a deployment as the registry sees them: their actors, reports, and processes.

On a single machine there is no actor of the machine, and the registry looks at processes itself.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import ray

from actors import _ray, ray_nodes
from actors.actor_calls import NodeCalls
from actors.background_tasks import begin, repeat
from actors.local_processes import is_actor, kill_actor
from actors.spec import DeploymentSpec, NodeAnnouncement
from constellation.records import NodeState, Overview

logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""Seconds between two looks at Ray's list of machines."""
START_S = 60.0
"""Seconds that the actor of a machine may take to start."""
REPORT_S = 5.0
"""Seconds between two reports of a machine."""
ANSWER_S = 1.0
"""Seconds that the actor of a machine may take to answer, once it has started."""
_LIST_S = 10.0
"""Seconds that Ray may take to list the machines."""


@dataclass(slots=True)
class _Known:
    """A machine that Ray lists."""

    calls: NodeCalls
    announcement: NodeAnnouncement | None = None
    state: NodeState | None = None


class Nodes:
    """Keeps an actor on every machine of the Ray cluster, as long as the machine is there.

    Args:
        spec: Of the deployment.

    Attributes:
        alive: Ray's id -> the machines that Ray lists as alive; empty on a single machine.
        changed: Event that is set when a machine joined or left.
    """

    def __init__(self, spec: DeploymentSpec) -> None:
        self._spec = spec
        self._here = _ray.node_name()
        self._known: dict[str, _Known] = {}
        self.alive: dict[str, ray_nodes.AliveNode] = {}
        self.changed = asyncio.Event()

    @classmethod
    async def started(cls, spec: DeploymentSpec) -> "Nodes":
        """Create the actors of all machines, and follow machines that join and leave."""
        nodes = cls(spec)
        if spec.spans_nodes:
            await nodes._look()
            begin("nodes", repeat("nodes", nodes._look, LOOK_S))
            begin("node reports", repeat("node reports", nodes._hear_reports, REPORT_S))
        return nodes

    async def wait_for_change(self) -> None:
        """Return when a machine has joined or left since the last call returned."""
        await self.changed.wait()
        self.changed.clear()

    @property
    def announcements(self) -> tuple[NodeAnnouncement, ...]:
        """What machines said of themselves, the registry's machine first."""
        found = [each.announcement for each in self._known.values() if each.announcement]
        return tuple(sorted(found, key=lambda each: (each.node.id != self._here, each.node.id)))

    def metrics_endpoints(self) -> dict[str, str]:
        """Return the name of every machine in metrics -> host:port of its /metrics."""
        return {
            f"{_ray.NODE}{each.node.address}": each.metrics_endpoint for each in self.announcements
        }

    def overview(self, own: Overview, serving: Iterable[str]) -> Overview:
        """Return what operators see, with all machines that reported.

        Args:
            own: As the registry's machine knows it.
            serving: Ray's id of the machine of every process that serves.
        """
        if not self._spec.spans_nodes:
            return own
        counts = Counter([*serving, self._here])
        others = tuple(
            replace(each.state, num_processes=counts[node])
            for node, each in sorted(self._known.items())
            if each.state is not None and node != self._here
        )
        return replace(own, nodes=(*own.nodes, *others))

    async def is_alive(self, pid: int, node: str) -> bool | None:
        """Return whether a process runs an actor on a machine; None when that is unknown.

        A machine that does not answer may be cut off while its processes live.
        """
        if not pid:
            return None
        if node == self._here:
            return is_actor(pid)
        known = self._known.get(node)
        if known is None:
            return None
        try:
            async with asyncio.timeout(ANSWER_S):
                return await known.calls.is_alive(pid)
        except (ray.exceptions.RayActorError, TimeoutError):
            return None

    async def kill(self, pid: int, node: str) -> bool:
        """Kill the process of an actor on a machine; return whether it was killed."""
        if not pid:
            return False
        if node == self._here:
            return kill_actor(pid)
        known = self._known.get(node)
        if known is None:
            return False
        try:
            async with asyncio.timeout(ANSWER_S):
                return await known.calls.kill(pid)
        except (ray.exceptions.RayActorError, TimeoutError):
            return False

    async def _look(self) -> None:
        """Compare the machines with Ray's list: create the actors of those that joined."""
        async with asyncio.timeout(_LIST_S):
            alive = await asyncio.to_thread(ray_nodes.alive_nodes)
        if alive.keys() != self.alive.keys():
            self.changed.set()
        self.alive = alive
        for node in self._known.keys() - alive.keys():
            del self._known[node]
            logger.warning("node left", extra={"node": node})
        for node in alive:
            known = self._known.get(node)
            if known is None or (known.announcement is None and not self._exists(node)):
                self._known[node] = _Known(self._create(node))
                logger.info("node joined", extra={"node": node})
                begin("node", self._hear(node, START_S))

    def _create(self, node: str) -> NodeCalls:
        from actors.node.process import NodeActor  # a single machine has no such actor

        return NodeActor.create(_ray.node_member(node), self._spec, node, node=node)

    def _exists(self, node: str) -> bool:
        return _ray.exists(_ray.node_member(node), self._spec.namespace)

    async def _hear_reports(self) -> None:
        await asyncio.gather(*(self._hear(node, ANSWER_S) for node in tuple(self._known)))

    async def _hear(self, node: str, timeout_s: float) -> None:
        """Note what a machine says of itself; a machine that is silent keeps its last report."""
        known = self._known.get(node)
        if known is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                announcement = await known.calls.where()
                if announcement.deployment != self._spec.id:
                    _ray.remove(announcement.member, self._spec.namespace)  # it is created anew
                    return
                known.announcement = announcement
                known.state = await known.calls.report()
        except (ray.exceptions.RayActorError, TimeoutError) as error:
            logger.warning("node does not answer", extra={"node": node, "reason": str(error)[:200]})
