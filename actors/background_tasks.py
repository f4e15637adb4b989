"""Background tasks: the only file that starts them, so that no error in one goes unnoticed.

A task that ends by an error which no code awaits would leave a process that looks well and does its
work no longer. Here the error is logged and counted, and repeated tasks continue.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from constellation.telemetry.process_metrics import BACKGROUND_FAILURES

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

_running: set[asyncio.Task[Any]] = set()
"""References that keep tasks alive: asyncio itself holds a task only weakly."""
_last_failures: dict[str, str] = {}


def begin(task: str, work: Coroutine[Any, Any, ResultT]) -> "asyncio.Task[ResultT]":
    """Start work beside the caller; needs a running event loop.

    Args:
        task: Name of the work for log and metric: one of a few names, not the name of a request.
        work: The coroutine. Its error is logged and counted, also when other code awaits it.
    """
    started = asyncio.create_task(work, name=task)
    _running.add(started)
    started.add_done_callback(_ended)
    return started


async def repeat(
    task: str, work: Callable[[], Coroutine[Any, Any, object]], every_s: float
) -> None:
    """Do the same work in rounds until cancelled; a round that fails does not end the rounds.

    Args:
        task: As for `begin`.
        work: Makes the coroutine of a round.
        every_s: Seconds between the starts of two rounds; the next waits for a longer round.
    """
    while True:
        started_s = time.monotonic()
        a_round = begin(task, work())
        try:
            await asyncio.wait([a_round])
        finally:
            a_round.cancel()  # has no effect on a round that has ended
        await asyncio.sleep(max(0.0, every_s - (time.monotonic() - started_s)))


def _ended(task: "asyncio.Task[Any]") -> None:
    _running.discard(task)
    if task.cancelled():
        return
    name, error = task.get_name(), task.exception()
    if error is None:
        _last_failures.pop(name, None)
        return
    BACKGROUND_FAILURES.labels(name).inc()
    if _last_failures.get(name) != repr(error):  # a round that fails twice a second is logged once
        _last_failures[name] = repr(error)
        logger.error("background task failed", extra={"task": name}, exc_info=error)
