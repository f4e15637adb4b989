"""The placement on disk, in the run folder: written by the registry, read by restarted processes.

The file also holds the number of the release that the kernels are of. The registry writes the
number when all processes have taken the release and before it publishes the release's table, so
that a process that restarts loads the release that the others serve, and a registry that restarts
knows which release that is. Locations are in the file when processes run on several nodes.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from actors.run_folder import as_json
from actors.spec import DeploymentSpec
from constellation.records import Location
from constellation.runtime.placement import Placement

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """Which process serves which kernels, and of which release."""

    placement: Placement
    """The kernels of every process."""
    release: int | None
    """Number of the release that is served; None means the current one of the artifacts."""
    since_s: float | None = None
    """When the release was switched to, seconds since the epoch; None when it is not known."""
    ahead: Mapping[str, int] = field(default_factory=dict)
    """Processes that were started for a release that is to be served -> its number."""

    def release_of(self, member: str) -> int | None:
        """Return the number of the release that a process loads; None means the current one."""
        return self.ahead.get(member, self.release)


def pack_placement(placed: Placed, deployment: str = "") -> bytes:
    """Return what the file of the placement holds.

    Args:
        placed: The placement.
        deployment: Id of the deployment that the placement is of; empty writes none.
    """
    content: dict[str, object] = {
        "release": placed.release,
        "processes": placed.placement.processes,
        "ahead": dict(placed.ahead),
    }
    if placed.since_s is not None:
        content["since"] = placed.since_s
    if placed.placement.locations:  # none are written on one machine, as before there were nodes
        locations = placed.placement.locations.items()
        content["locations"] = {member: asdict(at) for member, at in locations}
    if deployment:
        content["deployment"] = deployment
    return as_json(content)


def read_placement(spec: DeploymentSpec) -> Placed:
    """Return the placement as it was last written; an empty one when it cannot be read.

    A placement of another deployment counts as absent.
    A registry then places the kernels anew, and has processes load the kernels that they lack.
    """
    path = spec.run_folder.placement_path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("deployment", "") != spec.id:
            logger.info("placement of another deployment is ignored", extra={"path": str(path)})
            return _empty(spec)
        placed = {member: tuple(kernels) for member, kernels in content["processes"].items()}
        found = content.get("locations", {}).items()
        locations = {member: Location(**at) for member, at in found}
        return Placed(
            placement=replace(_empty(spec).placement, processes=placed, locations=locations),
            release=int(content["release"]),
            since_s=_since(content.get("since")),
            ahead={member: int(release) for member, release in content["ahead"].items()},
        )
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.error("placement is not read", extra={"path": str(path), "reason": str(error)})
    return _empty(spec)


def _empty(spec: DeploymentSpec) -> Placed:
    kernel = spec.kernel
    return Placed(placement=Placement(kernel.per_actor, {}, replicas=kernel.replicas), release=None)


def _since(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
