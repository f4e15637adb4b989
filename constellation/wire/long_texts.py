"""Tokenise long texts in a thread, so that the event loop keeps answering other requests.

Encoding 900 KB and computing its basin takes .1 to .9 s, during which an event loop would answer
nobody. There is one thread: two would not be faster, since half of the work holds Python's lock.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from constellation.errors import Cancelled, DeadlineExceeded, Overloaded

ResultT = TypeVar("ResultT")

LONG_CHARACTERS = 4096
"""Most characters of a text that is processed on the event loop. Such a text takes .4 ms when its
words are known, and 2 to 4 ms at worst: less than the 5 ms for which a thread keeps Python's lock,
so that a thread would save nothing and add its own .05 ms."""


class LongTexts:
    """Processes short texts immediately, and long texts one after the other in a thread.

    Args:
        owner: Name of the process in errors, such as "this router".
        waiting_max: Most long texts in progress or waiting; the next one is refused.
    """

    def __init__(self, owner: str, *, waiting_max: int) -> None:
        self._owner = owner
        self._waiting_max = waiting_max
        self._num_waiting = 0
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="long-texts")
        self._closed = False

    async def read(
        self, text: str, work: Callable[[], ResultT], *, timeout_s: float, is_slow: bool = False
    ) -> ResultT:
        """Return the result of `work`, which processes `text`.

        Args:
            text: The text; its length decides where `work` runs.
            work: Function that processes the text, without event loop or context variables.
            timeout_s: Most seconds, including the wait.
            is_slow: Whether to use the thread for a short text too.

        Raises:
            Overloaded: Too many long texts are waiting.
            DeadlineExceeded: `timeout_s` passed. Work in progress is finished and its result
                dropped; waiting work is never begun. The same holds for a cancelled caller.
            Cancelled: `close` was called.
        """
        if len(text) <= LONG_CHARACTERS and not is_slow:
            return work()
        if self._closed:
            raise Cancelled(f"{self._owner} has stopped")
        if self._num_waiting >= self._waiting_max:
            raise Overloaded(
                f"the reader of long texts of {self._owner}",
                depth=self._num_waiting,
                retry_after_s=1.0,
            )
        self._num_waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the text was read") from None
        finally:
            self._num_waiting -= 1

    def close(self) -> None:
        """Stop: refuse long texts and drop waiting ones; the text in progress is finished."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
