"""The only file that starts background tasks: the end of every one of them is seen.

A task that ends by an error which nobody awaits would leave a process that looks well and no longer
does its work. Here the error is logged and counted, and what has to go on goes on.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from constellation.telemetry.metrics import BACKGROUND_FAILURES

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

_running: set[asyncio.Task[Any]] = set()
"""asyncio itself holds a task only weakly."""
_last_failures: dict[str, str] = {}


def begin(task: str, work: Coroutine[Any, Any, ResultT]) -> "asyncio.Task[ResultT]":
    """Start work beside the caller; needs a running event loop.

    Args:
        task: What the work is, for log and metric: one of a few names, not of a request.
        work: Of a coroutine function. An error in it is logged and counted, whoever awaits it.
    """
    started = asyncio.create_task(work, name=task)
    _running.add(started)
    started.add_done_callback(_ended)
    return started


async def repeat(
    task: str, work: Callable[[], Coroutine[Any, Any, object]], every_s: float
) -> None:
    """Do the same work for ever, also after rounds that failed; ends when it is cancelled.

    Args:
        task: As for `begin`.
        work: Makes the coroutine of a round.
        every_s: Seconds from the start of a round to that of the next; a longer round is finished.
    """
    while True:
        started_s = time.monotonic()
        a_round = begin(task, work())
        try:
            await asyncio.wait([a_round])
        finally:
            a_round.cancel()  # when this was cancelled; nothing happens to one that has ended
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
