"""Closed-loop load: so many calls, so many at a time, every text another one."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What one run of calls measured."""

    calls_per_second: float
    p50_ms: float


Invoke = Callable[[str], Awaitable[Any]]
"""Makes one call and waits for its whole reply."""

Open = Callable[[], AbstractAsyncContextManager[Invoke]]
"""Opens a connection for the calls of one run."""


def run_load(open_calls: Open, texts: Sequence[str], *, concurrency: int, num_calls: int) -> Load:
    """Make `num_calls` calls from `concurrency` loops in this process."""
    return asyncio.run(_run(open_calls, texts, concurrency, num_calls))


async def _run(open_calls: Open, texts: Sequence[str], concurrency: int, num_calls: int) -> Load:
    async with open_calls() as invoke:
        for text in texts[: 2 * concurrency]:  # connections, caches of code, branch predictors
            await invoke(text)
        numbers = iter(range(num_calls))
        seconds: list[float] = []

        async def loop() -> None:
            for number in numbers:
                started_s = time.perf_counter()
                await invoke(texts[number % len(texts)])
                seconds.append(time.perf_counter() - started_s)

        started_s = time.perf_counter()
        await asyncio.gather(*(loop() for _ in range(concurrency)))
        elapsed_s = time.perf_counter() - started_s
    return Load(calls_per_second=num_calls / elapsed_s, p50_ms=float(np.median(seconds)) * 1e3)
