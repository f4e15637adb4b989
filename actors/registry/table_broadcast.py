"""Sending routers the table when it has changed, and otherwise only what changed in health.

What every router holds is known from its own answers: it says so after each message. A router that
restarted, or lost a message, answers with something else than was expected, and is sent all again.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields, replace

import ray

from actors.actor_calls import RouterCalls
from actors.background_tasks import begin
from actors.registry_messages import HealthChange, Held, Snapshot
from constellation.errors import ConstellationError
from constellation.records import Overview

logger = logging.getLogger(__name__)

BEAT_S = 1.0
"""Seconds after which a router is sent a message although nothing has changed."""

ACKNOWLEDGE_S = 30.0
"""Seconds that a router may take to read a coordizer and take a table, before it is sent again."""


@dataclass(slots=True)
class _Router:
    """What is known of one router."""

    held: Snapshot | None = None
    """What the router holds by its own word; None: unknown."""
    pending: Snapshot | None = None
    """What the message leads to that the router has not acknowledged yet; None: no such message."""
    sent_s: float = -math.inf
    table_version: int = 0
    """Version of the table that the router last said to route by; 0: it has not said."""


class TableBroadcast:
    """Keeps routers up to date, with one message under way to each, or one for each new table.

    Args:
        clock: Returns seconds that only rise.
        on_newer: Called with the version of a router's table that is newer than the one sent: the
            run folder was lost, and with it how far the registry before this one had counted.
    """

    def __init__(self, clock: Callable[[], float], on_newer: Callable[[int], object]) -> None:
        self._clock = clock
        self._on_newer = on_newer
        self._routers: dict[str, _Router] = {}
        self._latest: Snapshot | None = None

    def send(
        self, routers: Mapping[str, RouterCalls], snapshot: Snapshot
    ) -> list["asyncio.Task[None]"]:
        """Send every router what it lacks of a snapshot.

        Args:
            routers: Member -> calls of its actor.
            snapshot: What the registry knows; its revision is set here.

        Returns:
            Tasks, one for each message, that end when the router has taken it, or has died.
        """
        snapshot = self._latest = self._numbered(snapshot)
        self._routers = {name: self._routers.get(name, _Router()) for name in routers}
        return [
            self._dispatch(name, calls, snapshot)
            for name, calls in routers.items()
            if self._is_due(self._routers[name], snapshot)
        ]

    def lags(self) -> dict[str, int]:
        """Return router -> versions by which the router's table is older than the newest."""
        newest = 0 if self._latest is None else self._latest.table.version
        return {name: max(0, newest - each.table_version) for name, each in self._routers.items()}

    def _numbered(self, snapshot: Snapshot) -> Snapshot:
        """Return a snapshot with a revision of its own when its health is another."""
        latest = self._latest
        if latest is None:
            return replace(snapshot, revision=1)
        same = _contents(latest) == _contents(snapshot)
        return replace(snapshot, revision=latest.revision + (not same))

    def _is_due(self, router: _Router, snapshot: Snapshot) -> bool:
        if router.pending is not None:  # one at a time, but a new table waits for nobody
            return router.pending.table.version != snapshot.table.version
        if router.held is not None and router.held.held == snapshot.held:
            return self._clock() - router.sent_s >= BEAT_S
        return True

    def _dispatch(self, name: str, calls: RouterCalls, snapshot: Snapshot) -> "asyncio.Task[None]":
        router = self._routers[name]
        router.pending, router.sent_s = snapshot, self._clock()
        change = None if router.held is None else change_between(router.held, snapshot)
        # Called here and not in the task: messages leave in the order of their versions.
        answer = calls.update(snapshot) if change is None else calls.update_health(change)
        return begin("table broadcast", self._acknowledge(name, router, answer, snapshot))

    async def _acknowledge(
        self, name: str, router: _Router, answer: Awaitable[Held], sent: Snapshot
    ) -> None:
        """Wait for the answer to a message, and note what the router holds."""
        held = None
        try:
            async with asyncio.timeout(ACKNOWLEDGE_S):
                held = await answer
        except ray.exceptions.RayActorError:
            pass  # the router is down, and announces itself when it is back
        except (ray.exceptions.RayError, ConstellationError, TimeoutError) as error:
            facts = {"router": name, "reason": repr(error)}
            logger.error("router did not take the table", extra=facts)
        if router.pending is sent:
            router.pending = None
        router.held = sent if held == sent.held else None
        if held is not None:
            router.table_version = held.table_version
            if held.table_version > sent.table.version:
                self._on_newer(held.table_version)


def change_between(held: Snapshot, snapshot: Snapshot) -> HealthChange | None:
    """Return what leads from one snapshot to another; None: only the whole snapshot does."""
    gone = held.health.keys() - snapshot.health.keys()
    if gone or held.table.version != snapshot.table.version:
        return None
    problem = snapshot.start_problem
    return HealthChange(
        table_version=snapshot.table.version,
        registry_pid=snapshot.registry_pid,
        base=held.revision,
        revision=snapshot.revision,
        kernels=tuple(
            each for name, each in snapshot.health.items() if held.health.get(name) != each
        ),
        routers=None if held.routers == snapshot.routers else snapshot.routers,
        start_problem=None if held.start_problem == problem else problem,
        overview=_difference(held.overview, snapshot.overview) or None,
    )


def _contents(snapshot: Snapshot) -> tuple[object, ...]:
    """Return what a revision numbers."""
    return snapshot.health, snapshot.routers, snapshot.start_problem, snapshot.overview


def _difference(before: Overview, after: Overview) -> dict[str, object]:
    """Return the fields that changed: history and training seldom do, nodes every few seconds."""
    return {
        each.name: getattr(after, each.name)
        for each in fields(Overview)
        if getattr(before, each.name) != getattr(after, each.name)
    }
