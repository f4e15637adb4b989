"""A kernel leaves the router's table while it answers: nobody notices but the next query."""

import asyncio
import threading
from dataclasses import replace

from constellation.records import Table
from tests.actors.test_hosts import Sky, run


def without(sky: Sky, name: str) -> Table:
    sites = tuple(site for site in sky.table.sites if site.name != name)
    return replace(sky.table, version=sky.table.version + 1, sites=sites)


def test_what_a_kernel_began_and_what_waits_for_it_is_answered_after_it_left() -> None:
    async def story(sky: Sky) -> None:
        begun, gone = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def before_step() -> None:
            loop.call_soon_threadsafe(begun.set)
            assert gone.wait(20)

        sky.engines["a"].before_step = before_step
        asked = [asyncio.create_task(sky.ask("a")) for _ in range(2)]
        streams = [asyncio.create_task(sky.stream("a")) for _ in range(2)]
        await begun.wait()
        async with asyncio.timeout(20):
            while sky.kernels["a"].describe().queue_depth < 3:  # one runs, the others wait
                await asyncio.wait([*asked, *streams], timeout=0.01)
        await sky.publish(without(sky, "a"))
        assert (await sky.ask("a"))[0].kernel == "b"
        gone.set()
        for route, text in await asyncio.gather(*asked):
            assert (route.kernel, text) == ("a", "aaaa")
        for route, *pieces in await asyncio.gather(*streams):
            assert (route.kernel, pieces) == ("a", ["a"] * 4)

    run(story, slots=1, queue_max=8)
