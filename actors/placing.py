"""The placement on disk, in the run folder: written by the registry, read by who starts again."""

import json
import logging

from actors.spec import DeploymentSpec
from constellation.runtime.placement import Placement

logger = logging.getLogger(__name__)


def read_placement(spec: DeploymentSpec) -> Placement:
    """Return the placement as it was last written; an empty one when it cannot be read.

    A registry then places the kernels anew, and has processes serve whom they lack.
    """
    path = spec.placement_path
    try:
        processes = json.loads(path.read_text(encoding="utf-8"))
        placed = {member: tuple(kernels) for member, kernels in processes.items()}
    except FileNotFoundError:
        placed = {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        logger.error("placement is not read", extra={"path": str(path), "reason": str(error)})
        placed = {}
    return Placement(spec.kernel.per_actor, placed)
