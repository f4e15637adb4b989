"""The end of a background task is seen, and work that has to go on goes on."""

import asyncio
import logging

import pytest

from actors import background_tasks
from constellation.telemetry.process_metrics import BACKGROUND_FAILURES


def num_failures(task: str) -> float:
    return float(BACKGROUND_FAILURES.labels(task)._value.get())


def test_an_error_that_nobody_awaits_is_logged_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def break_down() -> None:
        raise ZeroDivisionError("why")

    async def story() -> None:
        task = background_tasks.begin("broken", break_down())
        await asyncio.wait([task])
        await asyncio.sleep(0)

    before = num_failures("broken")
    with caplog.at_level(logging.ERROR):
        asyncio.run(story())
    assert num_failures("broken") == before + 1
    (record,) = caplog.records
    assert (record.message, record.__dict__["task"]) == ("background task failed", "broken")
    assert "ZeroDivisionError: why" in caplog.text


def test_work_is_repeated_after_rounds_that_failed_and_the_same_error_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rounds: list[int] = []
    enough = asyncio.Event()

    async def a_round() -> None:
        rounds.append(len(rounds))
        if len(rounds) < 4:
            raise OSError(28, "No space left on device")
        enough.set()

    async def story() -> None:
        repeating = background_tasks.begin(
            "repeating", background_tasks.repeat("round", a_round, 0.0)
        )
        await enough.wait()
        repeating.cancel()
        await asyncio.wait([repeating])
        assert repeating.cancelled()

    before = num_failures("round")
    asyncio.run(story())
    assert num_failures("round") == before + 3
    assert len(caplog.records) == 1


def test_a_round_under_way_ends_with_the_work_that_repeats_it() -> None:
    ended: list[bool] = []

    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def story() -> None:
        repeating = background_tasks.begin(
            "repeating", background_tasks.repeat("w", wait_for_ever, 0.0)
        )
        for _ in range(5):
            await asyncio.sleep(0)
        repeating.cancel()
        await asyncio.wait([repeating])
        await asyncio.sleep(0)

    asyncio.run(story())
    assert ended == [True]
