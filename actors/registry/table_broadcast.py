"""Telling the routers the newest table and how everybody is."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import ray

from actors.router.served_release import Snapshot

logger = logging.getLogger(__name__)


def tell_routers(
    routers: Mapping[str, Any], snapshot: Snapshot, on_newer: Callable[[int], object]
) -> Any:
    """Send a snapshot to all routers.

    Args:
        routers: Member -> actor.
        snapshot: What they are told.
        on_newer: Called with the version of a router's table that is newer than the snapshot's: the
            run folder was lost, and with it how far this registry's predecessor had counted.

    Returns:
        What can be awaited for every router's having taken it or having died.
    """
    calls = [actor.update.remote(snapshot) for actor in routers.values()]
    told = asyncio.gather(*calls, return_exceptions=True)

    def check(_: object) -> None:
        if not told.cancelled():
            newest = _newest(dict(zip(routers, told.result(), strict=True)))
            if newest > snapshot.table.version:
                on_newer(newest)

    told.add_done_callback(check)
    return told


def _newest(answers: Mapping[str, object]) -> int:
    """Return the newest version that a router has; log who failed to take a table."""
    newest = 0
    for router, answer in answers.items():
        if isinstance(answer, int):
            newest = max(newest, answer)
        elif not isinstance(answer, ray.exceptions.RayActorError):  # one that is down
            facts = {"router": router, "reason": repr(answer)}
            logger.error("router did not take the table", extra=facts)
    return newest
