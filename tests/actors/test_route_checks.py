"""A router that answers health checks and routes nothing is found; one that refuses is not."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

import pytest

from actors.registry import route_checks
from actors.registry.heartbeat import Heartbeats
from actors.registry.route_checks import FAILURES_MAX, RouteChecks
from constellation.errors import KernelUnavailable, Overloaded
from constellation.wire.channel import Bind
from tests.actors.test_hosts import Sky


class Router:
    """A real router, whose next decisions a test may replace by an error."""

    def __init__(self, sky: Sky, endpoint: str) -> None:
        self.host = sky.router
        self._decider = sky.router._decider
        self._decide = self._decider.decide
        self.endpoint = endpoint
        self.heartbeats = Heartbeats(None)
        seconds = count(step=10)
        self._checks = RouteChecks(self.heartbeats, lambda: float(next(seconds)))
        self.num_routes = 0

    def fails(self, error: Exception | None) -> None:
        def decide(*arguments: Any, **options: Any) -> Any:
            self.num_routes += 1
            if error is not None:
                raise error
            return self._decide(*arguments, **options)

        self._decider.decide = decide  # type: ignore[method-assign]

    async def faults(self, num: int) -> list[str]:
        """Return what as many rounds of heartbeats find, each after the answer to the last."""
        found = []
        for _ in range(num):
            await self.heartbeats.router("router", self.endpoint)
            found.append(self._checks.fault("router", self.endpoint))
            asked = self._checks._routers["router"]
            async with asyncio.timeout(10):
                while asked.is_asking:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        return found


def told(story: Callable[[Router], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with Sky() as sky:
            endpoint = await sky.router.serve(Bind(), stall_s=5.0)
            router = Router(sky, endpoint)
            await story(router)
            await router.heartbeats.forget("router")
            await sky.router.stop(grace_s=0)

    asyncio.run(whole())


def test_a_router_that_fails_to_route_is_found_after_three_failures_and_recovers() -> None:
    async def story(router: Router) -> None:
        assert await router.faults(3) == ["", "", ""]
        router.fails(RuntimeError("lost"))
        *before, after = await router.faults(FAILURES_MAX + 1)
        assert set(before) == {""}
        assert after == "answers 3 requests for a route with INTERNAL"
        router.fails(None)
        assert (await router.faults(2))[-1] == ""

    told(story)


@pytest.mark.parametrize(
    "refusal",
    [
        Overloaded("this router", depth=9, retry_after_s=1.0),
        KernelUnavailable("a", "its process is restarting"),
    ],
)
def test_a_refusal_is_an_answer(refusal: Exception) -> None:
    async def story(router: Router) -> None:
        router.fails(refusal)
        assert set(await router.faults(2 * FAILURES_MAX)) == {""}
        assert router.num_routes >= FAILURES_MAX

    told(story)


def test_a_router_that_does_not_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_checks, "ROUTE_S", 0.05)

    async def story(router: Router) -> None:
        async def never(*_: object, **__: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(router.host, "route", never)
        assert (await router.faults(FAILURES_MAX + 2))[-1].endswith("DEADLINE_EXCEEDED")

    told(story)


def test_a_router_is_asked_at_most_once_in_ten_seconds() -> None:
    async def story(router: Router) -> None:
        router.fails(None)
        router._checks = RouteChecks(router.heartbeats, lambda: 0.0)
        await router.faults(5)
        assert router.num_routes == 0

    told(story)
