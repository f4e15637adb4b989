"""What a router's metrics say of answers, and that of a kernel that left they say nothing."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from actors.router.host import RouterHost
from actors.spec import RouterOptions
from tests.actors.test_hosts import PLAIN, SAMPLING, Letters, Sky
from tests.support.coordizers import Fixed

PREFIX = "constellation_"


def run(story: Callable[[Sky], Coroutine[Any, Any, None]]) -> None:
    async def tell() -> None:
        sky = Sky(slots=8, queue_max=8)
        sky.router = RouterHost(Fixed(Letters()), RouterOptions(requests_max=9), token=None)
        async with sky:
            await story(sky)

    asyncio.run(tell())


def value(sky: Sky, name: str, **labels: str) -> float | None:
    return sky.router.metrics.registry.get_sample_value(PREFIX + name, labels)


async def stream(sky: Sky) -> None:
    answer = sky.router.generate("a", SAMPLING, PLAIN, timeout_s=20)
    _ = [pair async for pair in answer]


async def ask(sky: Sky) -> None:
    await sky.router.ask("a", SAMPLING, PLAIN, timeout_s=20)


@pytest.mark.parametrize("send", [ask, stream])
def test_the_answers_of_a_kernel_are_counted_with_their_time(send: Any) -> None:
    async def story(sky: Sky) -> None:
        assert value(sky, "kernel_answer_seconds_count", kernel="a") == 0
        await send(sky)
        assert value(sky, "kernel_answer_seconds_count", kernel="a") == 1
        assert 0 < (value(sky, "kernel_answer_seconds_sum", kernel="a") or 0) < 20
        assert value(sky, "kernel_answer_seconds_count", kernel="b") == 0

    run(story)


def test_requests_in_progress_are_shown_with_their_limit() -> None:
    async def story(sky: Sky) -> None:
        answer = sky.router.generate("a", SAMPLING, PLAIN, timeout_s=20)
        await anext(answer)
        assert (value(sky, "requests_active"), value(sky, "requests_max")) == (1, 9)
        await answer.aclose()
        assert value(sky, "requests_active") == 0

    run(story)


def test_a_kernel_that_left_the_table_is_exported_no_more() -> None:
    async def story(sky: Sky) -> None:
        await stream(sky)
        sites = tuple(site for site in sky.table.sites if site.name == "b")
        await sky.publish(replace(sky.table, version=2, sites=sites))
        assert value(sky, "route_total", kernel="a", reason="nearest") is None
        assert value(sky, "kernel_answer_seconds_count", kernel="a") is None
        assert value(sky, "route_total", kernel="b", reason="nearest") == 0

    run(story)
