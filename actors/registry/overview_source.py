"""What the registry learns of releases, of its node and of a training, beside the members.

Everything is read every few seconds in a thread, since a disk may hang, and sent to routers only
when it changed. A file that cannot be read is logged and counted, and leaves out what it says.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

from actors import _ray
from actors.node_readings import read_live_training, read_node
from actors.spec import DeploymentSpec
from constellation.errors import ArtifactError
from constellation.records import (
    RELEASES_LISTED,
    Node,
    NodeState,
    Overview,
    ReleaseSummary,
)
from constellation.releases.store import ReleaseStore
from constellation.telemetry.process_metrics import READ_FAILURES

logger = logging.getLogger(__name__)
FoundT = TypeVar("FoundT")

OVERVIEW_S = 5.0
"""Seconds between two looks."""
STEP_BYTES = 2**24
"""Free memory and room on disks are rounded to this, so that less changes."""


class OverviewSource:
    """Reads releases, node and training; blocks as long as the disks do.

    Args:
        spec: Of the deployment.
        node: Ray's id of this node.
        address: IP address of this node.
    """

    def __init__(self, spec: DeploymentSpec, node: str, address: str) -> None:
        self._artifacts = spec.artifacts
        self._run_dir = spec.run_dir
        self._address = address
        self._node = node
        self._store = ReleaseStore(spec.artifacts)
        self._releases: dict[int, ReleaseSummary | None] = {}
        self._failing: dict[str, str] = {}

    def read(self, num_processes: int, release_since_s: float) -> Overview:
        """Return what holds now.

        Args:
            num_processes: Processes of the constellation that serve on this node.
            release_since_s: When the release that is served was switched to.
        """
        return Overview(
            release_since_s=release_since_s,
            releases=self._found("releases", self._latest_releases) or (),
            nodes=(self._own_node(num_processes),),
            training=self._found("status", lambda: read_live_training(self._artifacts)),
        )

    def _latest_releases(self) -> tuple[ReleaseSummary, ...]:
        """Return the latest releases; manifests never change, so that each is read once."""
        latest = self._store.versions()[: -RELEASES_LISTED - 1 : -1]
        self._releases = {
            number: self._releases[number] if number in self._releases else self._summary(number)
            for number in latest
        }
        return tuple(each for each in self._releases.values() if each is not None)

    def _summary(self, number: int) -> ReleaseSummary | None:
        """Return a release in short; None when its manifest is damaged."""

        def read() -> ReleaseSummary:
            release = self._store.read(number)
            return ReleaseSummary(
                number=number,
                made_s=release.created_s,
                change=release.change,
                parent=release.parent,
            )

        return self._found("manifest", read)

    def _own_node(self, num_processes: int) -> NodeState:
        found = read_node(self._run_dir)
        return NodeState(
            node=Node(id=self._node, address=self._address, memory_bytes=found.memory_bytes),
            num_processes=num_processes,
            memory_free_bytes=_rounded(found.memory_free_bytes),
            load_ratio=round(found.load_ratio, 2),
            disk_free_bytes=_rounded(found.disk_free_bytes),
        )

    def _found(self, what: str, read: Callable[[], FoundT]) -> FoundT | None:
        """Return what `read` does; None, logged once and counted, when a file cannot be read."""
        try:
            found = read()
        except (ArtifactError, OSError) as error:
            READ_FAILURES.labels(what).inc()
            if self._failing.get(what) != str(error):
                self._failing[what] = str(error)
                logger.error("file is not read", extra={"file": what, "reason": str(error)})
            return None
        self._failing.pop(what, None)
        return found


def own_processes(nodes: list[str]) -> int:
    """Return how many processes serve on this node: members of these nodes, and the registry."""
    return nodes.count(_ray.node_name()) + 1


def _rounded(size_bytes: int) -> int:
    return size_bytes // STEP_BYTES * STEP_BYTES
