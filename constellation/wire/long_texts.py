"""LongTexts: reads long texts beside the event loop, so that others are answered meanwhile.

Encoding and folding 900 KB take .1 to .9 s, and whatever an event loop serves would wait for it.
One thread for all of them: two would not be faster, since half of the work holds Python's lock.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from constellation.errors import Cancelled, DeadlineExceeded, Overloaded

ResultT = TypeVar("ResultT")

LONG_CHARACTERS = 4096
"""Texts of more characters are long. One of as many takes .4 ms to read when its words are known,
and 2 to 4 ms at worst: less than the 5 ms for which a thread keeps Python's lock, so that a thread
would gain nothing and add its own .05 ms."""


class LongTexts:
    """Has texts read: short ones at once, long ones one after the other in a thread.

    Args:
        owner: Named in errors, such as "this router".
        waiting_max: Long texts that may be read or wait for it; the next one is refused.
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
        """Return what `work` makes of `text`.

        Args:
            text: What is read; its length decides where.
            work: Reads it; knows neither the event loop nor context variables.
            timeout_s: Seconds it may take, its wait included.
            is_slow: Whether a short text takes long, too.

        Raises:
            Overloaded: Too many long texts wait.
            DeadlineExceeded: It took too long. What is under way is finished and dropped; what
                waits is not begun, and the same holds for those who are cancelled.
            Cancelled: It was closed.
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
        """Read no more long texts and drop those that wait; the one under way is finished."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
