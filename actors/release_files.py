"""Where a process reads releases: in the artifacts, or by way of its machine's actor."""

from pathlib import Path

from actors import _ray
from actors.spec import DeploymentSpec
from constellation.releases.node_store import NodeReleases
from constellation.releases.store import ReleaseStore


def releases_here(spec: DeploymentSpec) -> ReleaseStore:
    """Return the releases as a process reads them on this machine.

    On a single machine the artifacts are read as they are. On several the actor of the machine
    says where the files of a release are, and fetches what is missing.
    """
    if not spec.spans_nodes:
        return ReleaseStore(spec.artifacts)

    def provide(release: int, folders: tuple[str, ...]) -> Path:
        return _ray.provide(spec, release, folders)

    return NodeReleases(provide, spec.artifacts)
