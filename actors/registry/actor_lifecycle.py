"""Start, drain and end actors when kernels join and leave."""

import asyncio
import logging

import ray

from actors import _ray
from actors.actor_calls import KernelCalls, MemberCalls
from actors.kernel.process import KernelActor
from actors.spec import Announcement, DeploymentSpec
from constellation.errors import ArtifactError, GrowthRefused

logger = logging.getLogger(__name__)

START_S = 60.0
"""Seconds that a new kernel may take to load and announce itself."""

GONE_S = 10.0
"""Seconds that Ray may take to forget the name of a process that has ended."""


async def start_kernel(
    spec: DeploymentSpec,
    member: str,
    process: KernelCalls | None,
    name: str,
    release: int,
    node: str = "",
) -> tuple[KernelCalls, Announcement]:
    """Have a process serve a kernel that was placed there; no table names the kernel yet.

    Args:
        spec: Of the deployment.
        member: Name of the process.
        process: Its calls; None starts it.
        name: Name of the kernel.
        release: Number of the release that the kernel is loaded from.
        node: Ray's id of the node on which the process is started; empty lets Ray choose.

    Returns:
        The calls of the process, and where it listens and what it serves now.

    Raises:
        GrowthRefused: The process or the kernel did not come up.
    """
    try:
        async with asyncio.timeout(START_S):
            if process is None:
                process = KernelActor.create(member, spec, member, node=node)
                announcement = await process.where()
            else:
                announcement = await process.join(name, release)
    except (ray.exceptions.RayActorError, TimeoutError) as error:
        logger.warning("member did not come up", extra={"member": member, "reason": repr(error)})
        raise GrowthRefused(
            name,
            f"its process did not come up; {spec.node_folder.log_path(_ray.REGISTRY)} says why",
        ) from error
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ArtifactError):
            raise GrowthRefused(name, str(error.cause)) from error
        raise
    return process, announcement


async def withdraw(
    spec: DeploymentSpec, member: str, process: KernelCalls | None, name: str
) -> None:
    """Undo `start_kernel`.

    Args:
        spec: Of the deployment.
        member: Name of the process.
        process: Its calls when it serves other kernels too; None ends it.
        name: Name of the kernel.
    """
    if process is None:
        await remove(spec, member)
    else:
        await drain_kernel(spec, name, process)


async def drain_kernel(spec: DeploymentSpec, name: str, process: KernelCalls) -> None:
    """Have a process finish the requests of a kernel that is in no table, and drop the kernel."""
    try:
        # No answer may take longer than this.
        async with asyncio.timeout(spec.router.timeout_s + 1):
            await process.leave(name, spec.router.timeout_s)
    except (ray.exceptions.RayActorError, TimeoutError) as error:
        logger.warning("kernel did not leave", extra={"kernel": name, "reason": str(error)})
    logger.info("kernel left", extra={"kernel": name})


async def drain_process(spec: DeploymentSpec, member: str, process: MemberCalls) -> None:
    """Have a process that no query goes to any more finish its requests; then end the process."""
    try:
        # No answer may take longer than this.
        async with asyncio.timeout(spec.router.timeout_s + 1):
            await process.drain(spec.router.timeout_s)
    except (ray.exceptions.RayActorError, TimeoutError) as error:
        logger.warning("member did not drain", extra={"member": member, "reason": str(error)})
    await remove(spec, member)
    logger.info("member left", extra={"member": member})


async def remove(spec: DeploymentSpec, member: str) -> None:
    """End an actor for good and wait until the name of the actor is free again."""
    _ray.remove(member, spec.namespace)
    for _ in range(round(GONE_S / 0.05)):
        if not _ray.exists(member, spec.namespace):
            return
        await asyncio.sleep(0.05)
    logger.warning("member still has a name", extra={"member": member})
