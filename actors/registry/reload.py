"""Calls that switch processes to another release: all processes load it, or none takes it."""

import asyncio
import logging
from collections.abc import Awaitable, Mapping

import ray

from actors.actor_calls import KernelCalls, RouterCalls
from actors.spec import Announcement
from constellation.errors import (
    ArtifactError,
    ConstellationError,
    KernelUnavailable,
    ReloadRefused,
)
from constellation.records import Table

logger = logging.getLogger(__name__)


async def load_beside(processes: Mapping[str, KernelCalls], release: int) -> None:
    """Have every process load its kernels of a release beside the kernels that it serves.

    Args:
        processes: Member -> calls of its actor.
        release: Number of the release.

    Raises:
        ReloadRefused, KernelUnavailable: A process failed to load; the others have dropped what
            they loaded.
    """
    try:
        await _each({member: process.load_next(release) for member, process in processes.items()})
    except ConstellationError:
        await forget(processes)
        raise


async def take(processes: Mapping[str, KernelCalls], release: int) -> list[Announcement]:
    """Have every process serve the release that it has loaded.

    Answers under way finish with the weights that they began with. A process that restarted in the
    meantime loads the release now; a process that cannot, because a file was damaged, continues to
    serve what it did. A process that dies takes the release when it starts.

    Returns:
        Announcements of the processes that have taken the release.
    """
    calls = [process.take_next(release) for process in processes.values()]
    results = await asyncio.gather(*calls, return_exceptions=True)
    taken: list[Announcement] = []
    for member, result in zip(processes, results, strict=True):
        if isinstance(result, Announcement):
            taken.append(result)
        else:
            facts = {"member": member, "release": release, "reason": repr(result)}
            logger.error("member did not take the release", extra=facts)
    return taken


async def forget(processes: Mapping[str, KernelCalls]) -> None:
    """Have every process drop what it has loaded beside what it serves."""
    calls = [process.forget_next() for process in processes.values()]
    await asyncio.gather(*calls, return_exceptions=True)


async def prepare_routers(routers: Mapping[str, RouterCalls], table: Table) -> None:
    """Have every router read the coordizer of the next table; routers that are down do it later.

    Raises:
        ReloadRefused: A router cannot read the coordizer.
    """
    calls = [router.prepare(table) for router in routers.values()]
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(result, ray.exceptions.RayTaskError) and isinstance(
            result.cause, ArtifactError
        ):
            raise ReloadRefused(str(result.cause)) from result
        if isinstance(result, BaseException) and not isinstance(
            result,
            ray.exceptions.RayActorError,  # the router reads the coordizer when it starts
        ):
            raise result


async def _each(calls: Mapping[str, Awaitable[None]]) -> None:
    """Wait until all calls to processes have ended; raise the error of the first that failed."""
    results = await asyncio.gather(*calls.values(), return_exceptions=True)
    for name, result in zip(calls, results, strict=True):
        if isinstance(result, ray.exceptions.RayActorError):
            raise KernelUnavailable(name, "its process is restarting") from result
        if isinstance(result, ray.exceptions.RayTaskError):
            if isinstance(result.cause, ArtifactError):
                raise ReloadRefused(str(result.cause)) from result
            raise result
        if isinstance(result, BaseException):
            raise result
