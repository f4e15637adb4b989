"""The placement on disk, in the run folder: written by the registry, read by who starts again."""

import json
import logging
from dataclasses import dataclass

from actors.run_folder import as_json
from actors.spec import DeploymentSpec
from constellation.runtime.placement import Placement

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """Which process serves which kernels, and of which release."""

    placement: Placement
    """The kernels of every process."""
    release: int | None
    """Number of the release; None means the current one of the artifacts."""


def pack_placement(placement: Placement, release: int) -> bytes:
    """Return what the file of the placement holds."""
    return as_json({"release": release, "processes": placement.processes})


def read_placement(spec: DeploymentSpec) -> Placed:
    """Return the placement as it was last written; an empty one when it cannot be read.

    A registry then places the kernels anew, and has processes serve whom they lack.
    """
    path = spec.placement_path
    placed: dict[str, tuple[str, ...]] = {}
    release = None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        placed = {member: tuple(kernels) for member, kernels in content["processes"].items()}
        release = int(content["release"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.error("placement is not read", extra={"path": str(path), "reason": str(error)})
        placed = {}
    return Placed(placement=Placement(spec.kernel.per_actor, placed), release=release)
