"""All processes take the kernels of another release, or none does: what a switch does to them."""

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
    """Let every process load its kernels of a release beside what it serves.

    Args:
        processes: Member -> calls of its actor.
        release: Number of the release.

    Raises:
        ReloadRefused, KernelUnavailable: What the first that failed ran into; none holds anything
            of the release.
    """
    try:
        await _each({member: process.load_next(release) for member, process in processes.items()})
    except ConstellationError:
        await forget(processes)
        raise


async def take(processes: Mapping[str, KernelCalls], release: int) -> list[Announcement]:
    """Let every process serve what it has loaded; answers under way finish as they began.

    Returns:
        What is true now of the processes that have taken the release.

    A process that has been started again meanwhile loads the release now; one that cannot, because
    a file was damaged since, goes on with what it serves. One that dies takes it when it starts.
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
    """Let every process drop what it has loaded beside what it serves."""
    calls = [process.forget_next() for process in processes.values()]
    await asyncio.gather(*calls, return_exceptions=True)


async def prepare_routers(routers: Mapping[str, RouterCalls], table: Table) -> None:
    """Let every router that lives read the coordizer of a table that is to come.

    Raises:
        ReloadRefused: One of them cannot read it.
    """
    calls = [router.prepare(table) for router in routers.values()]
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(result, ray.exceptions.RayTaskError) and isinstance(
            result.cause, ArtifactError
        ):
            raise ReloadRefused(str(result.cause)) from result
        if isinstance(result, BaseException) and not isinstance(
            result,
            ray.exceptions.RayActorError,  # it reads the coordizer when it starts
        ):
            raise result


async def _each(calls: Mapping[str, Awaitable[None]]) -> None:
    """Wait until all calls of processes have ended; raise what the first that failed ran into."""
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
