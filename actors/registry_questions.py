"""Ask the registry, also while the registry is restarting."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from ray.exceptions import RayActorError, RayTaskError

from actors import _ray
from actors.actor_calls import RegistryCalls
from actors.spec import DeploymentSpec
from constellation.errors import ConstellationError, ServiceUnavailable

REGISTRY_S: Final = 60.0
"""Seconds within which the registry must answer, its restart included."""
_ASK_AGAIN_S: Final = 0.1

ResultT = TypeVar("ResultT")


async def ask_registry(
    spec: DeploymentSpec, call: Callable[[RegistryCalls], Awaitable[ResultT]]
) -> ResultT:
    """Return what the registry answers; a registry that is restarting is waited for.

    Raises:
        ServiceUnavailable: The registry does not answer within `REGISTRY_S`.
        ConstellationError: The call raised this error.
    """
    try:
        async with asyncio.timeout(REGISTRY_S):
            while True:
                registry = _ray.find(RegistryCalls, _ray.REGISTRY, spec.namespace)
                if registry is not None:
                    with suppress(RayActorError):  # it died meanwhile
                        return await call(registry)
                await asyncio.sleep(_ASK_AGAIN_S)
    except TimeoutError as error:
        reason = f"it did not answer within {REGISTRY_S:.0f} s"
        raise ServiceUnavailable("the registry", reason) from error
    except RayTaskError as error:
        if isinstance(error.cause, ConstellationError):
            raise error.cause from error
        raise
