"""Requests sent again, clients with limits, and clients that take turns, on hosts without Ray."""

import asyncio
import threading
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import pytest

from actors.kernel.host import KernelHost
from actors.router.host import RouterHost
from actors.router.idempotency import IdempotentAnswers
from actors.spec import RouterOptions
from constellation.errors import InvalidRequest, KernelUnavailable, Overloaded
from constellation.records import Route, Sampling
from constellation.v1 import kernel_pb2
from constellation.wire.callers import Caller
from tests.actors.test_hosts import PLAIN, SAMPLING, Engine, Letters, Sky
from tests.support.coordizers import Fixed

CALLER = Caller(client="me", request_id="7", fingerprint=b"what is asked")


def run(story: Callable[[Sky], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def tell() -> None:
        sky = Sky(slots=8, queue_max=8)
        sky.router = RouterHost(Fixed(Letters()), RouterOptions(**options), token=None)
        async with sky:
            await story(sky)

    asyncio.run(tell())


async def ask(sky: Sky, caller: Caller = CALLER) -> tuple[Any, bytes]:
    return await sky.router.ask("a", SAMPLING, PLAIN, timeout_s=20, caller=caller)


async def stream(sky: Sky, caller: Caller = CALLER) -> list[tuple[Any, bytes]]:
    answer = sky.router.generate("a", SAMPLING, PLAIN, timeout_s=20, caller=caller)
    return [pair async for pair in answer]


def count_steps(sky: Sky) -> list[str]:
    steps: list[str] = []
    for name, engine in sky.engines.items():
        engine.before_step = lambda name=name: steps.append(name)  # type: ignore[misc]
    return steps


@pytest.mark.parametrize("send", [ask, stream])
def test_a_repeat_gets_the_first_answer_and_no_kernel_is_asked(send: Any) -> None:
    async def story(sky: Sky) -> None:
        steps = count_steps(sky)
        first = await send(sky)
        num_steps = len(steps)
        assert await send(sky) == first
        assert len(steps) == num_steps == 4
        for other in (Caller(client="me", request_id="8"), Caller(client="you", request_id="7")):
            await send(sky, other)
        await send(sky, Caller(client="me"))  # without an id nothing is a repeat
        assert len(steps) == 4 * num_steps
        assert sky.router.metrics.requests.labels("nearest", "ok")._value.get() == 5

    run(story)


@pytest.mark.parametrize("send", [ask, stream])
def test_repeats_of_a_request_under_way_wait_for_its_answer(send: Any) -> None:
    async def story(sky: Sky) -> None:
        steps = count_steps(sky)
        answers = await asyncio.gather(*(send(sky) for _ in range(5)))
        assert all(answer == answers[0] for answer in answers)
        assert len(steps) == 4

    run(story)


def test_when_the_first_is_given_up_a_repeat_takes_its_place() -> None:
    async def story(sky: Sky) -> None:
        go, begun = threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def before_step() -> None:
            loop.call_soon_threadsafe(begun.set)
            go.wait(10)

        sky.engines["a"].before_step = before_step
        first = asyncio.create_task(ask(sky))
        await begun.wait()
        second = asyncio.create_task(ask(sky))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        go.set()
        _, reply = await second
        assert kernel_pb2.KernelGenerateReply.FromString(reply).text == "aaaa"

    run(story)


def test_a_failure_is_nobodys_answer() -> None:
    async def story(sky: Sky) -> None:
        for name in "ab":
            sky.die_at_step(name, 1)
        for _ in range(2):
            with pytest.raises(KernelUnavailable):
                await ask(sky)

    run(story)


def test_another_request_under_the_same_id_is_refused() -> None:
    async def story(sky: Sky) -> None:
        await ask(sky)
        with pytest.raises(InvalidRequest, match="request_id is '7'"):
            await ask(sky, Caller(client="me", request_id="7", fingerprint=b"something else"))

    run(story)


def test_a_client_has_its_own_limits_and_so_has_every_other() -> None:
    async def story(sky: Sky) -> None:
        async def outcomes(client: str) -> list[str]:
            tries = (ask(sky, Caller(client=client)) for _ in range(6))
            said = await asyncio.gather(*tries, return_exceptions=True)
            return sorted(type(each).__name__ for each in said)

        expected = ["Overloaded"] * 4 + ["tuple"] * 2
        assert [await outcomes("one"), await outcomes("other")] == [expected, expected]
        assert len(await outcomes("one")) == 6  # and its places are free again
        assert await outcomes("") == ["tuple"] * 6  # our own calls have none
        refused = sky.router.metrics.requests.labels("nearest", "Overloaded")
        assert refused._value.get() == 12

    run(story, client_requests_max=2)


def test_a_client_beyond_its_rate_hears_when_to_come_back() -> None:
    async def story(sky: Sky) -> None:
        for _ in range(2):
            await ask(sky, Caller(client="one"))
        with pytest.raises(Overloaded, match="2 a second") as caught:
            await ask(sky, Caller(client="one"))
        assert 0 < caught.value.retry_after_s <= 0.5
        await stream(sky, Caller(client="other"))

    run(story, client_rate=2.0)


def test_clients_take_turns_in_a_kernels_queue_and_a_full_one_has_room_for_the_modest() -> None:
    async def story() -> None:
        served: list[str] = []
        go = threading.Event()
        kernel = KernelHost("k", Engine("k", lambda: go.wait(10) and None), slots=1, queue_max=6)

        async def answer(client: str) -> None:
            async for _ in kernel.generate([1], Sampling(tokens_max=1), client=client):
                served.append(client)

        busy = [asyncio.create_task(answer("busy")) for _ in range(7)]
        await asyncio.sleep(0)  # one runs, six wait
        modest = [asyncio.create_task(answer(name)) for name in ("first", "second")]
        await asyncio.sleep(0)
        go.set()
        outcomes = await asyncio.gather(*busy, *modest, return_exceptions=True)
        refused = [outcome for outcome in outcomes if outcome is not None]
        assert [type(error) for error in refused] == [Overloaded, Overloaded]
        assert outcomes[5:7] == refused  # the newest of the busy one
        assert served == ["busy", "busy", "first", "second", "busy", "busy", "busy"]
        assert kernel.describe().num_running == kernel.describe().queue_depth == 0
        await kernel.leader.close()
        kernel.server.thread.close()

    asyncio.run(story())


def test_what_is_kept_of_a_long_stream_takes_no_more_memory_than_is_counted() -> None:
    answers, num_streams = IdempotentAnswers(), 200

    async def work() -> AsyncGenerator[tuple[Route | None, bytes], None]:
        for place in range(64):
            yield None, f"{place:30}".encode()

    async def keep() -> None:
        for number in range(num_streams):
            caller = Caller(client="me", request_id=str(number), fingerprint=bytes([number]) * 16)
            async for _ in answers.stream(caller, work):
                pass

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    asyncio.run(keep())
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    counted = answers._store.size_bytes
    assert 0.4 * counted < taken < counted
