"""Closed-loop load on a gRPC endpoint: so many calls, so many at a time, every text another one."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from constellation.wire.channel import CHANNEL_OPTIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What one run of calls measured."""

    calls_per_second: float
    p50_ms: float


Invoke = Callable[[Any, str], Any]
"""Makes one call over a channel and waits for its whole reply."""


def run_load(
    endpoint: str,
    make_call: Callable[[grpc.aio.Channel], Invoke],
    texts: Sequence[str],
    *,
    concurrency: int,
    num_calls: int,
) -> Load:
    """Call `endpoint` `num_calls` times from `concurrency` loops in this process."""
    return asyncio.run(_run(endpoint, make_call, texts, concurrency, num_calls))


async def _run(
    endpoint: str,
    make_call: Callable[[grpc.aio.Channel], Invoke],
    texts: Sequence[str],
    concurrency: int,
    num_calls: int,
) -> Load:
    async with grpc.aio.insecure_channel(endpoint, options=CHANNEL_OPTIONS) as channel:
        invoke = make_call(channel)
        for text in texts[: 2 * concurrency]:  # connections, caches of code, branch predictors
            await invoke(channel, text)
        numbers = iter(range(num_calls))
        seconds: list[float] = []

        async def loop() -> None:
            for number in numbers:
                started_s = time.perf_counter()
                await invoke(channel, texts[number % len(texts)])
                seconds.append(time.perf_counter() - started_s)

        started_s = time.perf_counter()
        await asyncio.gather(*(loop() for _ in range(concurrency)))
        elapsed_s = time.perf_counter() - started_s
    return Load(calls_per_second=num_calls / elapsed_s, p50_ms=float(np.median(seconds)) * 1e3)
