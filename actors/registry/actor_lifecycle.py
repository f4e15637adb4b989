"""The life of actors when kernels join and leave: start them, let them finish, end them."""

import asyncio
import logging
from typing import Any

import ray

from actors import _ray
from actors.kernel.process import KernelActor
from actors.spec import Announcement, DeploymentSpec
from constellation.errors import ArtifactError, GrowthRefused

logger = logging.getLogger(__name__)

START_S = 60.0
"""Seconds a new kernel may take to load and announce itself."""

GONE_S = 10.0
"""Seconds that Ray may take to forget the name of a process that has ended."""


async def start_kernel(
    spec: DeploymentSpec, member: str, actor: Any | None, name: str, release: int
) -> tuple[Any, Announcement]:
    """Let a process serve a kernel that was placed there; nobody is told of it yet.

    Args:
        spec: Of the deployment.
        member: The process.
        actor: Its actor; None: it has to be started.
        name: Of the kernel.
        release: Number of the release that the kernel is loaded from.

    Returns:
        The actor, and what is true of the process now.

    Raises:
        GrowthRefused: It did not come up.
    """
    try:
        async with asyncio.timeout(START_S):
            if actor is None:
                actor = _ray.create(KernelActor, member, spec, member)
                announcement: Announcement = await actor.where.remote()
            else:
                announcement = await actor.join.remote(name, release)
    except (ray.exceptions.RayActorError, TimeoutError) as error:
        logger.warning("member did not come up", extra={"member": member, "reason": repr(error)})
        raise GrowthRefused(
            name, f"its process did not come up; {spec.log_path(_ray.REGISTRY)} says why"
        ) from error
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ArtifactError):
            raise GrowthRefused(name, str(error.cause)) from error
        raise
    return actor, announcement


async def withdraw(spec: DeploymentSpec, member: str, actor: Any | None, name: str) -> None:
    """Undo `start_kernel`.

    Args:
        spec: Of the deployment.
        member: The process.
        actor: Its actor when others are served there; None ends it.
        name: Of the kernel.
    """
    if actor is None:
        await remove(spec, member)
    else:
        await let_leave(spec, name, actor)


async def let_leave(spec: DeploymentSpec, name: str, actor: Any) -> None:
    """Let a kernel that no query goes to any more finish what it is doing and leave its process."""
    try:
        # No answer may take longer than this.
        async with asyncio.timeout(spec.router.timeout_s + 1):
            await actor.leave.remote(name, spec.router.timeout_s)
    except (ray.exceptions.RayActorError, TimeoutError) as error:
        logger.warning("kernel did not leave", extra={"kernel": name, "reason": str(error)})
    logger.info("kernel left", extra={"kernel": name})


async def let_go(spec: DeploymentSpec, member: str, actor: Any) -> None:
    """Let an actor that no query goes to any more finish what it is doing; then end it."""
    try:
        # No answer may take longer than this.
        async with asyncio.timeout(spec.router.timeout_s + 1):
            await actor.drain.remote(spec.router.timeout_s)
    except (ray.exceptions.RayActorError, TimeoutError) as error:
        logger.warning("member did not drain", extra={"member": member, "reason": str(error)})
    await remove(spec, member)
    logger.info("member left", extra={"member": member})


async def remove(spec: DeploymentSpec, member: str) -> None:
    """End an actor for good and wait until its name is free again."""
    _ray.remove(member, spec.namespace)
    for _ in range(round(GONE_S / 0.05)):
        if _ray.find(member, spec.namespace) is None:
            return
        await asyncio.sleep(0.05)
    logger.warning("member still has a name", extra={"member": member})
