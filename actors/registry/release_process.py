"""The process that makes a release: fitting takes seconds of a processor, and memory.

The registry starts the process for one change and ends it afterwards, so that heartbeats and
routers do not wait for a fit. When the process is killed half-way, no release is written and
nothing has changed.
"""

import asyncio
import logging

import ray

from actors import _ray
from actors.actor_calls import MakerCalls
from actors.registry import actor_lifecycle
from actors.spec import DeploymentSpec
from constellation.errors import ConstellationError, GrowthRefused
from constellation.records import Change
from constellation.telemetry.logs import set_up_logging

logger = logging.getLogger(__name__)

MAKE_S = 600.0
"""Seconds that a release may take to be made."""


class ReleaseMaker:
    """Writes releases, inside a Ray actor."""

    def __init__(self, spec: DeploymentSpec) -> None:
        set_up_logging(spec.node_folder.log_path(_ray.MAKER))
        self._spec = spec

    async def make(self, change: Change) -> int:
        """Write the release that follows the current one by a change; return its number."""
        # Imported here: the registry, which starts this process, needs nothing of it.
        from constellation.releases.builder import make

        try:
            release = await asyncio.to_thread(make, self._spec.artifacts, change)
        except OSError as error:
            raise GrowthRefused(
                _subject(change),
                f"{error.filename or self._spec.artifacts} cannot be written: "
                f"{error.strerror or error}; make room or mend it, and try again",
            ) from error
        logger.info("release made", extra={"release": release.version, "change": release.change})
        return release.version

    async def drain(self, grace_s: float) -> None:
        """Do nothing: a release for which no change waits is never switched to."""


MakerActor = _ray.ActorClass[MakerCalls](ReleaseMaker)


async def make_apart(spec: DeploymentSpec, change: Change) -> int:
    """Have a release made by a process of its own; return the number of the release.

    Raises:
        ConstellationError: The change is refused.
        GrowthRefused: The process died or took too long; nothing has changed.
    """
    # A process that an earlier registry started makes a release that nobody waits for.
    await actor_lifecycle.remove(spec, _ray.MAKER)
    # On the machine of the registry, which sees the artifacts.
    node = _ray.node_name() if spec.spans_nodes else ""
    maker = MakerActor.create(_ray.MAKER, spec, node=node)
    try:
        async with asyncio.timeout(MAKE_S):
            return await maker.make(change)
    except (ray.exceptions.RayActorError, TimeoutError) as error:
        raise GrowthRefused(
            _subject(change),
            "the process that made its release was lost or took too long; try again",
        ) from error
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ConstellationError):
            raise error.cause from error
        raise
    finally:
        _ray.remove(_ray.MAKER, spec.namespace)


def _subject(change: Change) -> str:
    """Return the name of the kernel that a change concerns; empty for other changes."""
    return str(getattr(change, "name", getattr(change, "kernel", "")))
