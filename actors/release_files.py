"""Where a process reads releases: in the artifacts, or by way of its machine's actor."""

import threading
import time
from pathlib import Path
from typing import Final

from actors import _ray
from actors.actor_calls import NodeCalls
from actors.spec import DeploymentSpec
from constellation.errors import ArtifactError, DeploymentError, ServiceUnavailable
from constellation.releases.store import ReleaseStore

ACTOR_S: Final = 60.0
"""Seconds within which the actor of a machine must be there, its restart included."""
PROVIDE_S: Final = 600.0
"""Seconds in which a machine must have fetched the files of a process; as long as loading them may
take."""
_ASK_AGAIN_S: Final = 0.1


def releases_here(spec: DeploymentSpec) -> ReleaseStore:
    """Return the releases as a process reads them on this machine.

    On a single machine the artifacts are read as they are. On several the actor of the machine
    says where the files of a release are, and fetches what is missing.
    """
    if not spec.spans_nodes:
        return ReleaseStore(spec.artifacts)
    # Imported here: a process on a single machine needs nothing of it.
    from constellation.releases.node_store import NodeReleases

    def provide(release: int, folders: tuple[str, ...]) -> Path:
        return _provide(spec, release, folders)

    return NodeReleases(provide, spec.artifacts)


def _provide(spec: DeploymentSpec, release: int, folders: tuple[str, ...]) -> Path:
    """Have this machine's actor make parts of a release readable; return the store's folder.

    Waits, also for an actor that is being started; not for the event loop of an actor.

    Raises:
        ArtifactError: No source has a file undamaged, or the machine's actor does not answer.
    """
    member, started_s = _ray.node_member(_ray.node_name()), time.monotonic()
    reason = "there is none"
    while time.monotonic() - started_s < ACTOR_S:
        node = _ray.find(NodeCalls, member, spec.namespace)
        try:
            if node is not None:
                answer = node.provide(release, folders)
                return Path(_ray.wait_for(answer, timeout_s=PROVIDE_S, what="this node's actor"))
        except (DeploymentError, ServiceUnavailable) as error:
            reason = str(error)
        threading.Event().wait(_ASK_AGAIN_S)
    raise ArtifactError(f"release {release}", f"this node's actor does not provide it: {reason}")
