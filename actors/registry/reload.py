"""Calls that switch processes to another release: all processes load it, or none takes it."""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import Final, TypeVar

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
ResultT = TypeVar("ResultT")

LOAD_S: Final = 600.0
"""Seconds in which a process must have loaded all its kernels of a release; as long as a release
may take to be made."""
PREPARE_S: Final = 60.0
"""Seconds for a call that reads little or nothing: a coordizer, or dropping what was loaded."""


async def load_beside(processes: Mapping[str, KernelCalls], release: int) -> None:
    """Have every process load its kernels of a release beside the kernels that it serves.

    Args:
        processes: Member -> calls of its actor.
        release: Number of the release.

    Raises:
        ReloadRefused, KernelUnavailable: A process failed to load, or took longer than `LOAD_S`;
            the others have dropped what they loaded.
    """
    try:
        await _each({member: process.load_next(release) for member, process in processes.items()})
    except ConstellationError:
        await forget(processes)
        raise


async def take(processes: Mapping[str, KernelCalls], release: int) -> list[Announcement]:
    """Have every process serve the release that it has loaded.

    Answers under way finish with the weights that they began with. A process that restarted in the
    meantime loads the release now; a process that cannot, because a file was damaged or because
    loading takes longer than `LOAD_S`, continues to serve what it did. A process that dies takes
    the release when it starts.

    Returns:
        Announcements of the processes that have taken the release.
    """
    calls = {member: process.take_next(release) for member, process in processes.items()}
    taken: list[Announcement] = []
    for member, result in (await _ended(calls, LOAD_S)).items():
        if isinstance(result, Announcement):
            taken.append(result)
        else:
            facts = {"member": member, "release": release, "reason": repr(result)}
            logger.error("member did not take the release", extra=facts)
    return taken


async def forget(processes: Mapping[str, KernelCalls]) -> None:
    """Have every process drop what it has loaded beside what it serves."""
    calls = {member: process.forget_next() for member, process in processes.items()}
    await _ended(calls, PREPARE_S)


async def prepare_routers(routers: Mapping[str, RouterCalls], table: Table) -> None:
    """Have every router read the coordizer of the next table; routers that are down do it later.

    Raises:
        ReloadRefused: A router cannot read the coordizer, or not within `PREPARE_S`.
    """
    calls = {name: router.prepare(table) for name, router in routers.items()}
    for name, result in (await _ended(calls, PREPARE_S)).items():
        if isinstance(result, TimeoutError):
            raise _too_slow(name, "the coordizer", PREPARE_S) from result
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
    for name, result in (await _ended(calls, LOAD_S)).items():
        if isinstance(result, TimeoutError):
            raise _too_slow(name, "its kernels", LOAD_S) from result
        if isinstance(result, ray.exceptions.RayActorError):
            raise KernelUnavailable(name, "its process is restarting") from result
        if isinstance(result, ray.exceptions.RayTaskError):
            if isinstance(result.cause, ArtifactError):
                raise ReloadRefused(str(result.cause)) from result
            raise result
        if isinstance(result, BaseException):
            raise result


async def _ended(
    calls: Mapping[str, Awaitable[ResultT]], timeout_s: float
) -> dict[str, ResultT | BaseException]:
    """Return the result of each call, or its error; a call that is late has a TimeoutError."""

    async def within(call: Awaitable[ResultT]) -> ResultT:
        async with asyncio.timeout(timeout_s):
            return await call

    results = await asyncio.gather(*map(within, calls.values()), return_exceptions=True)
    return dict(zip(calls, results, strict=True))


def _too_slow(member: str, what: str, timeout_s: float) -> ReloadRefused:
    return ReloadRefused(
        f"{member} did not load {what} within {timeout_s:.0f} s; see whether its disk answers, and "
        "try again"
    )
