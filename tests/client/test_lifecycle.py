"""Streams, deadlines, cancellation and closing: how calls end, on both clients."""

import asyncio
import gc
import threading
from typing import Any

import pytest

from constellation import errors
from constellation.client import AsyncClient, Client, Timeouts
from tests.client.conftest import QUICK, MakeClient
from tests.wire.fakes import Served


def test_a_stream_yields_pieces_as_they_are_written(served: Served, stars: Any) -> None:
    served.soon(served.router.hold.clear)
    with stars.stream("first second") as stream:
        before = stream.route
        assert before is None
        piece = next(stream)
        assert (piece.text, piece.finish) == ("first", None)
        assert stream.route.kernel == "python"
        served.soon(served.router.hold.set)
        assert [piece.text for piece in stream] == [" second", ""]
        assert stream.reply().text == "first second"
    assert not served.router.stopped.done()  # read to its end, an answer is not cancelled


def test_closing_a_stream_stops_the_work(served: Served, stars: Any) -> None:
    served.soon(served.router.hold.clear)
    stream = stars.stream("first second")
    next(stream)
    stream.close()
    served.router.stopped.result(timeout=5)
    with pytest.raises(errors.Cancelled):
        next(stream)


def test_leaving_the_block_of_a_stream_stops_the_work(served: Served, stars: Any) -> None:
    served.soon(served.router.hold.clear)
    with stars.stream("first second") as stream:
        next(stream)
    served.router.stopped.result(timeout=5)


@pytest.mark.slow
def test_a_stream_that_nobody_holds_any_more_stops_the_work(served: Served, stars: Any) -> None:
    served.soon(served.router.hold.clear)
    for piece in stars.stream("first second"):
        assert piece.text == "first"
        break
    gc.collect()
    stars.status()  # the asynchronous client's loop runs only while it is called
    served.router.stopped.result(timeout=5)


@pytest.mark.parametrize("failed", range(2))
def test_a_call_on_a_closed_client_is_cancelled(stars: Any, failed: int) -> None:
    if failed:
        stars.ask("a")
    stars.close()
    stars.close()
    for call in (stars.ask, stars.route, stars.basin, stars.score):
        with pytest.raises(errors.Cancelled, match="closed"):
            call("a")
    assert stars.healthy() is False


def test_closing_the_client_ends_a_pause_between_tries(served: Served) -> None:
    served.router.failures.append(errors.Overloaded("q", depth=1, retry_after_s=30))
    stars = Client(served.endpoint)
    timer = threading.Timer(0.05, stars.close)
    timer.start()
    with pytest.raises(errors.Cancelled):
        stars.ask("a")
    timer.join()


def test_closing_the_client_cancels_what_is_running(served: Served) -> None:
    served.soon(served.router.hold.clear)
    stars = Client(served.endpoint)
    stream = stars.stream("first second")
    next(stream)
    stars.close()
    with pytest.raises(errors.Cancelled):
        next(stream)
    served.router.stopped.result(timeout=5)


def test_closing_the_asynchronous_client_cancels_what_is_running(served: Served) -> None:
    async def check() -> None:
        stars = AsyncClient(served.endpoint, retries=QUICK)
        stream = stars.stream("first second")
        await stream.__anext__()
        waiting = asyncio.gather(
            stream.__anext__(), stars.score("a", timeout_s=10), return_exceptions=True
        )
        await asyncio.sleep(0)  # both are sent
        await stars.close()
        ended = await waiting
        assert [type(error) for error in ended] == [errors.Cancelled] * 2

    served.soon(served.router.hold.clear)
    asyncio.run(check())


def test_a_cancelled_task_sees_its_own_cancellation(served: Served) -> None:
    async def check() -> None:
        async with AsyncClient(served.endpoint, retries=QUICK) as stars:
            task = asyncio.create_task(stars.ask("first second", timeout_s=10))
            await asyncio.wait([task], timeout=0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    served.soon(served.router.hold.clear)
    asyncio.run(check())
    served.router.stopped.result(timeout=5)


def test_an_asynchronous_client_can_be_made_before_there_is_a_loop(served: Served) -> None:
    stars = AsyncClient(served.endpoint)

    async def ask() -> str:
        async with stars:
            replies = await asyncio.gather(*(stars.ask(f"q {index}") for index in range(8)))
        return "".join(reply.text for reply in replies)

    assert asyncio.run(ask()) == "".join(f"q {index}" for index in range(8))


@pytest.mark.parametrize("call", ["ask", "score"])
def test_a_passed_deadline_is_typed_and_not_tried_again(
    served: Served, stars: Any, call: str
) -> None:
    served.soon(served.router.hold.clear)
    with pytest.raises(errors.DeadlineExceeded):
        getattr(stars, call)("first second", timeout_s=0.05)
    assert len(served.router.calls) == 1


def test_every_call_carries_a_deadline(served: Served, make_client: MakeClient) -> None:
    stars = make_client(served.endpoint, timeouts=Timeouts(request_s=50))
    stars.ask("a")
    stars.score("a")
    stars.ask("a", timeout_s=9)
    first, second, third = served.router.timeouts
    assert first is not None
    assert second is not None
    assert third is not None
    assert 40 < first < 51
    assert 40 < second < 51
    assert 5 < third < 10


def test_one_client_serves_many_threads(served: Served) -> None:
    texts = [f"question {index}" for index in range(16)]
    answers: dict[str, str] = {}
    with Client(served.endpoint, retries=QUICK) as stars:

        def ask(text: str) -> None:
            answers[text] = stars.ask(text).text

        threads = [threading.Thread(target=ask, args=(text,)) for text in texts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {text: text for text in texts}
