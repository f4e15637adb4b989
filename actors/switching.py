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


async def switch(kernels: dict[str, Any]) -> tuple[str, ...]:
    """Let every kernel load beside what it serves; when all have, let them switch.

    Args:
        kernels: Name -> actor.

    Returns:
        Names of those whose weights are others now.

    Raises:
        ReloadRefused, KernelUnavailable: What the first that failed ran into; all serve what they
            served.
    """
    try:
        changed = await _each(kernels, "load_next")
    except ConstellationError:
        await _each(kernels, "forget_next")
        raise
    await _each(kernels, "take_next")
    return tuple(name for name, new in changed.items() if new)


async def _each(kernels: dict[str, Any], method: str) -> dict[str, Any]:
    """Call a method of every kernel; return what they say, by kernel, when all have ended."""
    calls = [getattr(actor, method).remote() for actor in kernels.values()]
    results = await asyncio.gather(*calls, return_exceptions=True)
    for name, result in zip(kernels, results, strict=True):
        if isinstance(result, ray.exceptions.RayActorError):
            raise KernelUnavailable(name, "its process is restarting") from result
        if isinstance(result, ray.exceptions.RayTaskError):
            if isinstance(result.cause, ArtifactError):
                raise ReloadRefused(str(result.cause)) from result
            raise result
        if isinstance(result, BaseException):
            raise result
    return dict(zip(kernels, results, strict=True))
