"""Several processes serve one kernel: requests are spread, and a lost process changes no answer."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from actors.registry_messages import HealthChange, Snapshot
from actors.router.host import RouterHost
from actors.spec import RouterOptions
from constellation.client.async_direct import AsyncDirectClient
from constellation.client.direct import DirectClient
from constellation.errors import KernelUnavailable, Overloaded
from constellation.records import (
    KernelHealth,
    Mode,
    ReplicaHealth,
    RoutingOptions,
    Rule,
    Sampling,
    Segment,
)
from constellation.wire.channel import Bind
from tests.actors.choir import Choir, decoder, sing
from tests.actors.test_relaying import Bytes, Sky
from tests.client.conftest import QUICK
from tests.support.coordizers import Fixed

LONG = Sampling(tokens_max=40, temperature=0, logit_bias={0: -100})
PINNED = RoutingOptions(kernel="a")


class Twins(Sky):
    """Kernel "a" in the processes "a" and "b"; "c" is a kernel of its own, of the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.started: Counter[str] = Counter()
        """Process -> answers that it has begun."""
        for name, engine in self.engines.items():
            engine.start = partial(self._start, name, engine.start)  # type: ignore[method-assign]

    def _start(self, name: str, start: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        self.started[name] += 1
        return start(*arguments, **more)

    async def __aenter__(self) -> "Twins":
        await super().__aenter__()
        first, second, other = self.table.sites
        twin = replace(first, more_endpoints=second.endpoints)
        self.table = replace(self.table, version=2, sites=(twin, other))
        for name in "ab":
            self.kernels[name].server.kernels = {"a": self.kernels[name]}
        await self.publish(self.table)
        return self

    def health(self, **queues: int) -> tuple[KernelHealth, ...]:
        """Return what heartbeats say: process -> requests that it has."""
        endpoints = dict(zip("ab", self.table.sites[0].endpoints, strict=True))
        replicas = tuple(
            ReplicaHealth(
                member=name, endpoint=endpoint, pid=1, num_restarts=0, queue_depth=queues[name]
            )
            for name, endpoint in endpoints.items()
        )
        return (KernelHealth(name="a", up=True, pid=1, num_restarts=0, replicas=replicas),)


def run(story: Callable[[Twins], Coroutine[Any, Any, None]]) -> None:
    async def tell() -> None:
        async with Twins() as sky:
            await story(sky)

    asyncio.run(tell())


@pytest.mark.parametrize("options", [RoutingOptions(), PINNED], ids=["routed", "pinned"])
@pytest.mark.parametrize("step", [1, 6])
def test_another_process_of_the_kernel_continues_an_answer_without_a_trace(
    step: int, options: RoutingOptions
) -> None:
    async def story(sky: Twins) -> None:
        undisturbed = await sky.stream(options=options)
        sky.die_at_step("b", step)  # "a" wrote the first, so that it is the turn of "b"
        told = await sky.stream(options=options)
        assert told.whole.text == undisturbed.whole.text
        assert told.whole.tokens == undisturbed.whole.tokens
        assert told.finish.segments == ()
        assert told.route == undisturbed.route
        assert sky.router.metrics.failovers.labels("a")._value.get() == 1
        whole, _ = await sky.router.ask("abc", LONG, options, timeout_s=20)
        assert whole.kernel == "a"

    run(story)


def test_other_kernels_continue_only_when_no_process_of_the_kernel_is_left() -> None:
    async def story(sky: Twins) -> None:
        undisturbed = await sky.stream()
        sky.die_at_step("b", 6)
        sky.die_at_step("a", 6)
        told = await sky.stream()
        assert told.whole.tokens == undisturbed.whole.tokens
        first, second = told.finish.segments
        assert first == Segment(kernel="a", first=0, reason="nearest")
        assert (second.kernel, second.reason) == ("c", "failover")
        with pytest.raises(KernelUnavailable, match="'a'"):
            await sky.stream(options=PINNED)

    run(story)


def test_requests_go_to_the_process_with_the_fewest_requests() -> None:
    async def story(sky: Twins) -> None:
        await asyncio.gather(*(sky.router.ask("abc", LONG, PINNED, timeout_s=20) for _ in range(4)))
        assert sky.started == {"a": 2, "b": 2}
        # Others have sent requests to "a", as the last heartbeat says.
        await sky.router.update(
            Snapshot(
                table=sky.table,
                health={each.name: each for each in sky.health(a=5, b=0)},
                registry_pid=1,
                revision=1,
            )
        )
        for _ in range(3):
            await sky.router.ask("abc", LONG, PINNED, timeout_s=20)
        assert sky.started == {"a": 2, "b": 5}
        sky.router.update_health(
            HealthChange(
                table_version=2, registry_pid=1, base=1, revision=2, kernels=sky.health(a=0, b=5)
            )
        )
        for _ in range(3):
            await sky.router.ask("abc", LONG, PINNED, timeout_s=20)
        assert sky.started == {"a": 5, "b": 5}

    run(story)


def test_a_full_process_is_followed_by_another_one_and_refuses_when_all_are_full() -> None:
    async def story(sky: Twins) -> None:
        # Another router, which knows nothing of this one's requests, fills one process: 2 slots, a
        # queue of 2.
        only = replace(sky.table.sites[0], more_endpoints=())
        other = RouterHost(Fixed(Bytes()), RouterOptions(), token=None)
        table = replace(sky.table, sites=(only, *sky.table.sites[1:]))
        await other.update(Snapshot(table=table, health={}, registry_pid=1))
        filling = [
            asyncio.ensure_future(other.ask("abc", LONG, PINNED, timeout_s=20)) for _ in range(4)
        ]
        async with asyncio.timeout(5):
            while sky.kernels["a"].describe().queue_depth < 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
        asked = [sky.router.ask("abc", LONG, PINNED, timeout_s=20) for _ in range(4)]
        routes = [route.kernel for route, _ in await asyncio.gather(*asked)]
        assert routes == ["a"] * 4
        asked = [sky.router.ask("abc", LONG, PINNED, timeout_s=20) for _ in range(12)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert any(isinstance(each, Overloaded) for each in found)
        assert all(isinstance(each, Overloaded | tuple) for each in found)
        await asyncio.gather(*filling)
        await other._links.close()

    run(story)


def test_queries_spill_when_every_process_has_enough_to_do() -> None:
    async def story(sky: Twins) -> None:
        router = RouterHost(Fixed(Bytes()), RouterOptions(spill_depth=2), token=None)
        everywhere = dict.fromkeys(Rule, 4.0)
        sites = tuple(replace(site, radii=everywhere) for site in sky.table.sites)
        table = replace(sky.table, sites=sites)
        await router.update(Snapshot(table=table, health={}, registry_pid=1))
        asked = (router.ask("abc", LONG, RoutingOptions(), timeout_s=20) for _ in range(6))
        routes = [route for route, _ in await asyncio.gather(*asked)]
        assert Counter(route.reason for route in routes) == {"nearest": 4, "spill": 2}
        await router._links.close()

    run(story)


def test_direct_clients_take_turns_and_go_on_with_the_processes_that_are_left() -> None:
    async def story(sky: Twins) -> None:
        endpoint = await sky.router.serve(Bind(), stall_s=5.0)
        ticks = itertools.count()
        terms: dict[str, Any] = {"retries": QUICK, "now_s": lambda: next(ticks) * 0.05}
        options: dict[str, Any] = {"tokens_max": 5, "temperature": 0, "kernel": "a"}
        async with AsyncDirectClient(endpoint, Bytes(), **terms) as direct:
            said = {(await direct.ask("abc", **options)).text for _ in range(4)}
            assert sky.started == {"a": 2, "b": 2}
            await sky.kernels["a"].server.stop(grace_s=0)
            said |= {(await direct.ask("abc", **options)).text for _ in range(4)}
            assert len(said) == 1
            with DirectClient(endpoint, Bytes(), **terms) as sync:
                for _ in range(2):
                    said.add((await asyncio.to_thread(sync.ask, "abc", **options)).text)
            assert len(said) == 1
            await sky.kernels["b"].server.stop(grace_s=0)
            with pytest.raises(KernelUnavailable, match="'a'"):
                await direct.ask("abc", **options)
        await sky.router.stop(grace_s=0)

    run(story)


@pytest.mark.parametrize("lost", ["leader", "partner"])
def test_kernels_that_write_together_are_reached_by_the_processes_that_are_left(lost: str) -> None:
    """Both kernels are served by the processes of "a" and "b", and one of these processes ends."""
    decoders = {name: decoder(ord(name)) for name in "ab"}

    async def story(choir: Choir) -> None:
        twin = Choir(decoders)
        async with twin:
            sites = tuple(
                replace(site, more_endpoints=other.endpoints)
                for site, other in zip(choir.table.sites, twin.table.sites, strict=True)
            )
            table = replace(choir.table, version=2, sites=sites)
            await choir.router.update(Snapshot(table=table, health={}, registry_pid=1))
            options = RoutingOptions(mode=Mode.MIXTURE)
            route, reply = await choir.ask("hhh", LONG, options)
            name = route.choices[lost == "partner"].kernel
            await choir.servers[name].stop(grace_s=0)
            for _ in range(3):
                again, same = await choir.ask("hhh", LONG, options)
                assert (again.kernel, again.reason) == (route.kernel, "nearest")
                assert same.tokens == reply.tokens
                assert not same.finish.lost

    sing(story, decoders)
