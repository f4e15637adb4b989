"""The placement on disk, in the run folder: written by the registry, read by who starts again."""

import json

from actors.run_folder import write_json
from actors.spec import DeploymentSpec
from constellation.errors import ArtifactError
from constellation.runtime.placement import Placement


def read_placement(spec: DeploymentSpec) -> Placement:
    """Return the placement as it was last written; an empty one before that.

    Raises:
        ArtifactError: The file is damaged.
    """
    path = spec.placement_path
    try:
        processes = json.loads(path.read_text(encoding="utf-8"))
        placed = {member: tuple(kernels) for member, kernels in processes.items()}
    except FileNotFoundError:
        placed = {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(path, f"is no placement of kernels: {error}") from error
    return Placement(spec.kernel.per_actor, placed)


def write_placement(spec: DeploymentSpec, placement: Placement) -> None:
    """Write the placement, whole or not at all."""
    write_json(spec.placement_path, placement.processes)
