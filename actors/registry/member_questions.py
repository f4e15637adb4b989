"""Questions to actors that may have ended: where they listen, and why they did not start."""

import asyncio

import ray

from actors import _ray
from actors.actor_calls import MemberCalls
from actors.registry.heartbeat import ANSWER_S
from actors.spec import Announcement


async def death_reason(member: MemberCalls) -> str:
    """Return why an actor has ended, as far as Ray knows."""
    try:
        async with asyncio.timeout(ANSWER_S):
            await member.where()
    except ray.exceptions.RayActorError as error:
        return _ray.reason_of(error)
    except TimeoutError:
        pass
    return "Ray does not say why"


async def where(member: MemberCalls) -> Announcement | None:
    """Return where an actor listens; None when its process has died meanwhile."""
    try:
        return await member.where()
    except ray.exceptions.RayActorError:
        return None  # the process died meanwhile; its successor will announce itself
