"""Calls under way to a machine that vanished: no reset comes, and no caller waits for one."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from actors.registry_messages import Snapshot
from constellation.records import RoutingOptions, Sampling, Table
from constellation.wire import channel
from tests.actors.choir import Choir, decoder
from tests.actors.test_hosts import Sky, run
from tests.support.black_hole import BlackHole

PLAIN = RoutingOptions()
SHORT = Sampling(tokens_max=2, temperature=0.0)
LONG = Sampling(tokens_max=40, tokens_min=40, temperature=0.0)
FAR_S = 20.0
"""Half of the time after which a plain channel notices that its peer is gone."""


def at(table: Table, **endpoints: str | None) -> Table:
    """Return the next version of a table, with other endpoints of some kernels."""
    sites = tuple(
        replace(site, endpoint=endpoints.get(site.name, site.endpoint)) for site in table.sites
    )
    return replace(table, version=table.version + 1, sites=sites)


def without(table: Table, name: str) -> Table:
    """Return the next version of a table, without a kernel."""
    sites = tuple(site for site in table.sites if site.name != name)
    return replace(table, version=table.version + 1, sites=sites)


class Held:
    """A kernel whose second step waits until the test lets the step end."""

    def __init__(self, sky: Sky, kernel: str) -> None:
        self.reached = asyncio.Event()
        self.go = threading.Event()
        self._steps = iter(range(1000))
        self._loop = asyncio.get_running_loop()
        sky.engines[kernel].before_step = self._wait

    def _wait(self) -> None:
        if next(self._steps) == 1:
            self._loop.call_soon_threadsafe(self.reached.set)
            assert self.go.wait(30)


@pytest.mark.parametrize("moves", [False, True], ids=["goes down", "moves"])
def test_an_answer_of_a_kernel_that_is_elsewhere_in_the_table_is_continued_at_once(
    moves: bool,
) -> None:
    """The machine says nothing: the table alone says that the kernel is not there any more."""

    async def story(sky: Sky) -> None:
        held = Held(sky, "a")
        asked = [asyncio.create_task(ask("a")) for ask in (sky.stream, sky.ask)]
        await held.reached.wait()
        # The process at which "a" is said to be does not serve "a": a failover is the answer.
        await sky.publish(at(sky.table, a=sky.table.sites[1].endpoint if moves else None))
        (_, *pieces), (route, whole) = await asyncio.wait_for(asyncio.gather(*asked), 10)
        held.go.set()
        assert "".join(pieces)[-3:] == "bbb"
        assert (route.kernel, whole) == ("b", "bbbb")

    run(story)


def test_an_answer_of_a_kernel_that_left_the_table_is_finished_by_the_kernel() -> None:
    async def story(sky: Sky) -> None:
        held = Held(sky, "a")
        asked = asyncio.create_task(sky.ask("a"))
        await held.reached.wait()
        await sky.publish(without(sky.table, "a"))
        held.go.set()
        route, text = await asked
        assert (route.kernel, text) == ("a", "aaaa")

    run(story)


def test_a_caller_that_goes_while_a_connection_is_closed_is_no_loss_of_a_kernel() -> None:
    async def story(sky: Sky) -> None:
        held = Held(sky, "a")
        asked = asyncio.create_task(sky.ask("a"))
        await held.reached.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        held.go.set()

    run(story)


async def far(choir: Choir, holes: ExitStack, *kernels: str) -> list[BlackHole]:
    """Have a router reach some kernels only over a network that can be cut."""
    ways = {
        site.name: holes.enter_context(BlackHole(site.endpoint or ""))
        for site in choir.table.sites
        if site.name in kernels
    }
    table = at(choir.table, **{name: way.endpoint for name, way in ways.items()})
    await choir.router.update(Snapshot(table=table, health={}, registry_pid=1))
    return list(ways.values())


def slow(choir: Choir, kernel: str) -> None:
    """Have every step of a kernel take 50 ms, so that an answer is cut in its middle."""
    loop = choir.kernels[kernel]._stepping.loop
    step = loop._step

    def after_a_while(answers: Sequence[Any]) -> Any:
        threading.Event().wait(0.05)
        return step(answers)

    loop._step = after_a_while


def sing(
    story: Callable[[Choir, ExitStack], Coroutine[Any, Any, None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Run a story whose connections take the loopback for a network."""
    monkeypatch.setattr(channel, "crosses_network", lambda endpoint: True)

    async def whole() -> None:
        with ExitStack() as holes:
            async with Choir({name: decoder(n) for n, name in enumerate("abc")}) as choir:
                await story(choir, holes)

    asyncio.run(whole())


def test_a_stream_from_a_machine_that_vanished_is_continued_before_any_table_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(choir: Choir, holes: ExitStack) -> None:
        (way,) = await far(choir, holes, "a")
        slow(choir, "a")
        first, segments, num = "", [], 0
        async with asyncio.timeout(FAR_S):
            async for route, reply in choir.router.generate("h", LONG, PLAIN, timeout_s=60):
                message = choir.read(reply)
                if not num:
                    way.cut()
                first = first or ("" if route is None else route.kernel)
                num += message.num_tokens
                segments = [each.kernel for each in message.finish.segments]
        assert (first, num) == ("a", LONG.tokens_max)
        assert segments[0] == "a"
        assert segments[1] in ("b", "c")

    sing(story, monkeypatch)


def test_a_call_finds_its_way_past_several_kernels_of_a_machine_that_vanished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next nearest kernel vanished with the nearest: nobody waits for each in turn."""

    async def story(choir: Choir, holes: ExitStack) -> None:
        ways = await far(choir, holes, "a", "b")
        await choir.ask("h", SHORT, PLAIN)  # both connections are there
        await choir.ask("i", SHORT, PLAIN)
        for way in ways:
            way.cut()
        async with asyncio.timeout(FAR_S):
            route, _ = await choir.ask("h", SHORT, PLAIN)
        assert (route.kernel, route.reason) == ("c", "failover")

    sing(story, monkeypatch)


def test_a_kernel_that_is_slow_to_answer_over_a_network_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Silence of a text is no silence of its machine."""

    async def story(choir: Choir, holes: ExitStack) -> None:
        await far(choir, holes, "a")
        loop = choir.kernels["a"]._stepping.loop
        step = loop._step

        def after_long(answers: Sequence[Any]) -> Any:
            threading.Event().wait(4.0)  # longer than a silent machine is waited for
            loop._step = step
            return step(answers)

        loop._step = after_long
        route, _ = await choir.ask("h", SHORT, PLAIN)
        assert (route.kernel, route.reason) == ("a", "nearest")

    sing(story, monkeypatch)


def test_a_kernel_whose_network_came_back_answers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(choir: Choir, holes: ExitStack) -> None:
        (way,) = await far(choir, holes, "a")
        way.cut()
        assert (await choir.ask("h", SHORT, PLAIN))[0].kernel != "a"
        way.heal()
        async with asyncio.timeout(FAR_S):
            while (await choir.ask("h", SHORT, PLAIN))[0].kernel != "a":  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    sing(story, monkeypatch)


def test_only_endpoints_of_other_machines_are_watched() -> None:
    assert not channel.crosses_network("127.0.0.1:7000")
    assert not channel.crosses_network("[::1]:7000")
    assert channel.crosses_network("10.77.0.10:7000")
