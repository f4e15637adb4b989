"""The latest routes of a router, for people who watch: without text, and with a limit."""

from collections import deque

from constellation.records import RecentRoute, Route

ROUTES_MAX = 50
"""Routes that are kept."""


class RecentRoutes:
    """Keeps the latest routes, and numbers them."""

    def __init__(self) -> None:
        self._routes: deque[RecentRoute] = deque(maxlen=ROUTES_MAX)
        self._number = 0

    def note(self, route: Route, distance: float | None, *, at_s: float) -> None:
        """Keep the route of a query that is answered.

        Args:
            route: The decision; its text is not kept.
            distance: Of the kernel that answers, radians; None when it is not known.
            at_s: Seconds since the epoch.
        """
        self._number += 1
        self._routes.appendleft(
            RecentRoute(
                number=self._number,
                at_s=at_s,
                kernel=route.kernel,
                distance=distance,
                margin=route.margin,
                num_tokens=route.num_tokens,
                reason=route.reason,
                rule=route.rule,
                mode=route.mode,
                out_of_domain=route.out_of_domain,
            )
        )

    def newest_first(self) -> tuple[RecentRoute, ...]:
        """Return the routes that are kept, the newest first."""
        return tuple(self._routes)
