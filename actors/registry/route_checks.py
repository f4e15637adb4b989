"""Whether routers route: each is asked for the route of a short text now and then.

The heartbeat shows only that a router's server answers. The route of a text is decided by the same
code as that of every request: the table, the coordizer and the policy in use.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

from actors.background_tasks import begin
from actors.registry.heartbeat import Heartbeats

EVERY_S = 10.0
"""Seconds between two routes that a router is asked for."""

ROUTE_S = 10.0
"""Seconds that a router may take; a router with work takes turns."""

FAILURES_MAX = 3
"""Failures in a row after which a router counts as one that does no work."""

_BROKEN = frozenset(
    {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
"""What a router answers that does not route. A refusal is an answer: a busy router refuses, and one
without any kernel that is up does. A lost connection is the heartbeat's matter."""


@dataclass(slots=True)
class _Router:
    endpoint: str
    asked_s: float
    num_failures: int = 0
    reason: str = ""
    is_asking: bool = field(default=False)


class RouteChecks:
    """Asks routers for routes beside their heartbeats, and counts failures.

    Args:
        heartbeats: Connections to the routers.
        clock: Returns seconds that only rise.
    """

    def __init__(self, heartbeats: Heartbeats, clock: Callable[[], float]) -> None:
        self._heartbeats = heartbeats
        self._clock = clock
        self._routers: dict[str, _Router] = {}

    def fault(self, member: str, endpoint: str) -> str:
        """Return why a router routes nothing, or ""; ask for the next route when that is due."""
        now_s = self._clock()
        known = self._routers.get(member)
        if known is None or known.endpoint != endpoint:
            self._routers[member] = known = _Router(endpoint, asked_s=now_s)
        # A failure is followed up at once.
        is_due = known.num_failures > 0 or now_s - known.asked_s >= EVERY_S
        if is_due and not known.is_asking:
            known.is_asking, known.asked_s = True, now_s
            begin("route check", self._ask(member, known))
        if known.num_failures < FAILURES_MAX:
            return ""
        return f"answers {known.num_failures} requests for a route with {known.reason}"

    def forget(self, member: str) -> None:
        """Forget what a router answered, whose process is restarted."""
        self._routers.pop(member, None)

    async def _ask(self, member: str, router: _Router) -> None:
        try:
            await self._heartbeats.route(member, router.endpoint, timeout_s=ROUTE_S)
        except grpc.aio.AioRpcError as error:
            if error.code() in _BROKEN:
                router.num_failures += 1
                router.reason = error.code().name
                return
        finally:
            router.is_asking = False
        router.num_failures = 0
