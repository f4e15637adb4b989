"""Queries spill over to the next nearest kernel while the nearest has enough to do."""

import asyncio
from collections import Counter
from contextlib import aclosing

from actors.registry_messages import Snapshot
from actors.router.host import RouterHost
from actors.spec import RouterOptions
from constellation.records import Mode, RoutingOptions, Sampling
from tests.actors.choir import Choir, decoder, sing
from tests.support.coordizers import Fixed

SAMPLING = Sampling(tokens_max=20, temperature=0, logit_bias={0: -100})
OPTIONS = RoutingOptions()


async def limited(choir: Choir, depth: int | None) -> RouterHost:
    """Return another router over the same kernels."""
    router = RouterHost(Fixed(choir.coordizer), RouterOptions(spill_depth=depth), token=None)
    await router.update(Snapshot(table=choir.table, health={}, registry_pid=1))
    return router


def test_no_more_than_the_depth_are_under_way_at_the_nearest_and_all_are_answered() -> None:
    async def story(choir: Choir) -> None:
        router = await limited(choir, 2)
        asked = (router.ask("hhh", SAMPLING, OPTIONS, timeout_s=20) for _ in range(5))
        routes = [route for route, _ in await asyncio.gather(*asked)]
        nearest = routes[0].choices[0].kernel
        said = Counter((route.kernel == nearest, route.reason) for route in routes)
        # two at the nearest, two at the next, and the fifth stays where it belongs
        assert said == {(True, "nearest"): 3, (False, "spill"): 2}
        counted = router.metrics.routes.labels(routes[0].choices[1].kernel, "spill")
        assert counted._value.get() == 2
        # nothing is under way any more, whether it was finished or left
        async with aclosing(router.generate("hhh", SAMPLING, OPTIONS, timeout_s=20)) as answer:
            await anext(answer)
        await choir.settled()
        route, _ = await router.ask("hhh", SAMPLING, OPTIONS, timeout_s=20)
        assert (route.kernel, route.reason) == (nearest, "nearest")
        assert router._links.crowded(1) == frozenset()
        await router._links.close()

    sing(story, {"a": decoder(0), "b": decoder(1)}, slots=5)


def test_without_a_depth_nothing_spills() -> None:
    async def story(choir: Choir) -> None:
        router = await limited(choir, None)
        asked = (router.ask("hhh", SAMPLING, OPTIONS, timeout_s=20) for _ in range(5))
        routes = [route for route, _ in await asyncio.gather(*asked)]
        assert {route.reason for route in routes} == {"nearest"}
        mixed = RoutingOptions(mode=Mode.MIXTURE)
        routes = [(await router.ask("hhh", SAMPLING, mixed, timeout_s=20))[0]]
        assert routes[0].reason == "nearest"
        await router._links.close()

    sing(story, {"a": decoder(0), "b": decoder(1)}, slots=5)
