"""All kernels take new weights, or none does: what the registry does to reload."""

import asyncio
from typing import Any

import ray

from constellation.errors import (
    ArtifactError,
    ConstellationError,
    KernelUnavailable,
    ReloadRefused,
)


async def switch(processes: dict[str, Any]) -> tuple[str, ...]:
    """Let every process load its kernels beside what it serves; when all have, let them switch.

    Args:
        processes: Member -> actor.

    Returns:
        Names of the kernels whose weights are others now.

    Raises:
        ReloadRefused, KernelUnavailable: What the first that failed ran into; all serve what they
            served.
    """
    try:
        changed = await _each(processes, "load_next")
    except ConstellationError:
        await _each(processes, "forget_next")
        raise
    await _each(processes, "take_next")
    return tuple(name for names in changed for name in names)


async def _each(processes: dict[str, Any], method: str) -> list[Any]:
    """Call a method of every process; return what they say when all have ended."""
    calls = [getattr(actor, method).remote() for actor in processes.values()]
    results = await asyncio.gather(*calls, return_exceptions=True)
    for name, result in zip(processes, results, strict=True):
        if isinstance(result, ray.exceptions.RayActorError):
            raise KernelUnavailable(name, "its process is restarting") from result
        if isinstance(result, ray.exceptions.RayTaskError):
            if isinstance(result.cause, ArtifactError):
                raise ReloadRefused(str(result.cause)) from result
            raise result
        if isinstance(result, BaseException):
            raise result
    return results
