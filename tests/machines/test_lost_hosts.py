"""Calls under way to a kernel on a host that loses its power or its network: no reset comes."""

import asyncio
import subprocess
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any

import pytest

from actors.registry_messages import Snapshot
from actors.router.host import RouterHost
from actors.spec import RouterOptions
from constellation.records import RoutingOptions, Sampling
from constellation.v1 import kernel_pb2
from tests.actors.test_hosts import Letters, Sky
from tests.machines.hosts import Host, Hosts
from tests.support.coordizers import Fixed

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

TOKEN = "a-secret-of-the-tests"
PLAIN = RoutingOptions()
SLOWEST_S = 5.0
"""Seconds that a caller may wait longer because a host vanished: a bar of the specification."""


class Far:
    """The kernel "a" on a host, in a process that the test started over SSH."""

    def __init__(self, hosts: Hosts, host: Host) -> None:
        command = f"exec python -m tests.machines.far_kernel {host.address} {TOKEN}"
        line = f"{hosts.environment} && {command}"
        self._process = subprocess.Popen([*hosts.ssh(host), line], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.endpoint = self._process.stdout.readline().decode().strip()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=10)


@pytest.fixture
def far(hosts: Hosts) -> Iterator[Far]:
    host = hosts[2]
    if not hosts.lives(host):
        hosts.power_on(host)
    started = Far(hosts, host)
    yield started
    started.end()


def told(story: Any, far: Far) -> None:
    async def whole() -> None:
        async with Sky(slots=8, queue_max=8) as sky:
            router = RouterHost(Fixed(Letters()), RouterOptions(), token=TOKEN)
            sites = tuple(
                replace(site, endpoint=far.endpoint) if site.name == "a" else site
                for site in sky.table.sites
            )
            table = replace(sky.table, version=2, sites=sites)
            await router.update(Snapshot(table=table, health={}, registry_pid=1))
            await story(router)
            await router._links.close()

    asyncio.run(whole())


async def answer(router: RouterHost, num_tokens: int) -> tuple[str, float]:
    """Return a streamed answer to "a", and the longest pause between two pieces in seconds."""
    text, pause_s, last_s = "", 0.0, time.monotonic()
    sampling = Sampling(tokens_max=num_tokens)
    async for _, reply in router.generate("a", sampling, PLAIN, timeout_s=60):
        pause_s = max(pause_s, time.monotonic() - last_s)
        last_s = time.monotonic()
        text += kernel_pb2.KernelGenerateReply.FromString(reply).text
    return text, pause_s


async def cut_under_load(router: RouterHost, cut: Coroutine[Any, Any, None]) -> list[float]:
    """Return the pauses of answers under way, and of answers begun afterwards."""
    assert (await answer(router, 2))[0] == "aa"
    under_way = [asyncio.create_task(answer(router, 100)) for _ in range(4)]
    await asyncio.sleep(0.3)
    await cut
    after = [asyncio.create_task(answer(router, 4)) for _ in range(4)]
    found = await asyncio.gather(*under_way, *after)
    for text, _ in found[:4]:
        assert len(text) == 100
        assert text == "a" * text.count("a") + "b" * text.count("b")
        assert "b" in text
    assert {text for text, _ in found[4:]} == {"bbbb"}
    return [pause_s for _, pause_s in found]


def test_answers_of_a_host_without_power_are_continued_within_five_seconds(
    hosts: Hosts, far: Far
) -> None:
    async def story(router: RouterHost) -> None:
        pauses = await cut_under_load(router, asyncio.to_thread(hosts.power_cut, hosts[2]))
        assert max(pauses) <= SLOWEST_S, pauses

    told(story, far)


def test_a_partition_costs_no_answer_and_ends_without_a_restart(hosts: Hosts, far: Far) -> None:
    async def story(router: RouterHost) -> None:
        pauses = await cut_under_load(router, asyncio.to_thread(hosts.partition, hosts[2]))
        assert max(pauses) <= SLOWEST_S, pauses
        for _ in range(20):  # while it lasts, nobody waits
            text, pause_s = await answer(router, 2)
            assert text == "bb"
            assert pause_s < 1.5
            await asyncio.sleep(0.5)
        await asyncio.to_thread(hosts.heal, hosts[2])
        async with asyncio.timeout(20):
            while (await answer(router, 2))[0] != "aa":  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    told(story, far)
