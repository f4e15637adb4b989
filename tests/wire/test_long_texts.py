"""Long texts are read in a thread, one after the other; short ones where they are."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from constellation.errors import Cancelled, DeadlineExceeded, InvalidRequest, Overloaded
from constellation.wire.long_texts import LONG_CHARACTERS, LongTexts

SHORT, LONG = "a" * LONG_CHARACTERS, "a" * (LONG_CHARACTERS + 1)
HANG_S = 20.0
"""A bound for waits that end at once when all is well."""


class Held:
    """Work that waits for a sign."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.free = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.free.wait(HANG_S), "the event loop was held up"
        return "read"


def tell(story: Callable[[LongTexts, Held], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        texts, held = LongTexts("this router", waiting_max=2), Held()
        try:
            await story(texts, held)
        finally:
            held.free.set()
            texts.close()

    asyncio.run(run())


def test_only_long_and_slow_texts_leave_the_event_loop() -> None:
    async def story(texts: LongTexts, held: Held) -> None:
        async def thread_of(text: str, *, is_slow: bool = False) -> int:
            ident = threading.get_ident
            return await texts.read(text, ident, timeout_s=HANG_S, is_slow=is_slow)

        here = threading.get_ident()
        assert await thread_of(SHORT) == here
        others = [await thread_of(LONG), await thread_of("a", is_slow=True)]
        assert others[0] == others[1] != here

    tell(story)


def test_short_texts_are_read_while_a_long_one_is() -> None:
    async def story(texts: LongTexts, held: Held) -> None:
        waiting = asyncio.create_task(texts.read(LONG, held, timeout_s=HANG_S))
        await asyncio.to_thread(held.begun.wait, HANG_S)
        assert await texts.read(SHORT, lambda: "short", timeout_s=HANG_S) == "short"
        assert not waiting.done()
        held.free.set()
        assert await waiting == "read"

    tell(story)


def test_what_waits_behind_a_passed_deadline_or_a_cancelled_caller_is_not_begun() -> None:
    begun: list[str] = []

    async def story(texts: LongTexts, held: Held) -> None:
        first = asyncio.create_task(texts.read(LONG, held, timeout_s=HANG_S))
        await asyncio.to_thread(held.begun.wait, HANG_S)
        with pytest.raises(DeadlineExceeded):
            await texts.read(LONG, lambda: begun.append("late"), timeout_s=0.01)
        second = asyncio.create_task(
            texts.read(LONG, lambda: begun.append("cancelled"), timeout_s=HANG_S)
        )
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        held.free.set()
        assert await first == "read"
        await texts.read(LONG, lambda: begun.append("last"), timeout_s=HANG_S)

    tell(story)
    assert begun == ["last"]


def test_a_caller_that_left_what_is_under_way_leaves_its_place() -> None:
    async def story(texts: LongTexts, held: Held) -> None:
        for _ in range(5):  # more than may wait
            with pytest.raises(DeadlineExceeded):
                await texts.read(LONG, held, timeout_s=0.01)

    tell(story)


def test_one_too_many_is_refused_and_errors_of_the_work_come_back() -> None:
    def refuse() -> None:
        raise InvalidRequest("text", 0, "another")

    async def story(texts: LongTexts, held: Held) -> None:
        waiting = [asyncio.create_task(texts.read(LONG, held, timeout_s=HANG_S)) for _ in range(2)]
        await asyncio.to_thread(held.begun.wait, HANG_S)
        with pytest.raises(Overloaded) as refused:
            await texts.read(LONG, held, timeout_s=HANG_S)
        assert (refused.value.depth, "this router" in str(refused.value)) == (2, True)
        held.free.set()
        assert await asyncio.gather(*waiting) == ["read", "read"]
        with pytest.raises(InvalidRequest, match="another"):
            await texts.read(LONG, refuse, timeout_s=HANG_S)

    tell(story)


def test_after_its_end_long_texts_are_refused() -> None:
    async def story(texts: LongTexts, held: Held) -> None:
        texts.close()
        with pytest.raises(Cancelled, match="this router has stopped"):
            await texts.read(LONG, held, timeout_s=HANG_S)
        assert await texts.read(SHORT, lambda: 1, timeout_s=HANG_S) == 1

    tell(story)
