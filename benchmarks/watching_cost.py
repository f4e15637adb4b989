"""How many calls per second does watching a constellation cost?

    python -m benchmarks.watching_cost [--artifacts artifacts/starter] [--pairs 6] [--seconds 15]

Eight callers make calls over gRPC, each alternately a `route` and a one-token `ask`, with another
text each. A pair has two periods, in an order that alternates from pair to pair:

- unwatched: nothing reads metrics or status;
- watched: a Prometheus of this machine scrapes the node's aggregate every 5 s and evaluates the
  shipped rules (`cluster/prometheus`), and one listener reads `GET /status/events`.

Callers, constellation and Prometheus share the machine, so that the processor time of Prometheus
counts as cost, too. Keys of the last line, one JSON object:

- `calls_per_s_unwatched`, `calls_per_s_watched`: medians over the pairs; higher is better. Their
  lowest and highest period are in `spread`.
- `cost_ratio`: share of calls/s that watching costs, 1 - exp(mean of log(watched / unwatched))
  over the pairs; lower is better, the bar is 0.02. `interval`: its 95 % interval (Student's t).
- `processor_cost_ratio`, `processor_interval`: the same from the processor time of constellation
  and Prometheus per call, which other programs of the machine disturb less.
- `router_us`: processor microseconds of the routers per call, unwatched and watched.
- `counting`: what `benchmarks.counting_cost` says of the bookkeeping that is always on.
"""

import argparse
import asyncio
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psutil
from scipy import stats

from benchmarks import counting_cost
from benchmarks.query_texts import query_texts
from benchmarks.watchers import EventListener, scraping
from cluster import launcher_process
from cluster.bootstrap import prepare_environment
from cluster.state_file import RunState
from constellation.client.async_client import AsyncClient
from constellation.client.client import Client
from constellation.settings import Settings

CALLERS = 8
SETTLE_S = 3.0
"""Seconds of load before a period counts: connections, first scrapes, caches."""
TEXTS = 4000


@dataclass(frozen=True, kw_only=True, slots=True)
class Period:
    """What one period measured."""

    calls_per_s: float
    processor_s: float
    """Processor seconds of constellation and Prometheus per call."""
    router_s: float
    """Processor seconds of the routers per call."""


class Machine:
    """The processes of a running constellation, and the processor time they took."""

    def __init__(self, state: RunState) -> None:
        launcher = psutil.Process(state.pid)
        self.processes = [launcher, *launcher.children(recursive=True)]
        with Client(state.endpoint) as stars:
            self._routers = {router.pid for router in stars.status().routers}

    def processor_s(self, watcher: psutil.Process | None) -> tuple[float, float]:
        """Return the processor seconds so far of all processes, and of the routers among them."""
        watchers = () if watcher is None else (watcher,)
        taken: dict[int, float] = {}
        for each in (*self.processes, *watchers):
            with suppress(psutil.NoSuchProcess):  # Ray ends helpers that it does not need
                taken[each.pid] = sum(each.cpu_times()[:2])
        return sum(taken.values()), sum(taken[pid] for pid in self._routers)


async def load(stars: AsyncClient, texts: Sequence[str], start: int, seconds: float) -> int:
    """Make calls for so long; return how many ended in this time."""
    numbers, end_s = count(start), time.perf_counter() + seconds

    async def caller() -> int:
        done = 0
        while time.perf_counter() < end_s:
            text = texts[next(numbers) % len(texts)]
            await stars.route(text)
            await stars.ask(text, tokens_max=1)
            done += 2
        return done

    return sum(await asyncio.gather(*(caller() for _ in range(CALLERS))))


async def measure(
    endpoint: str,
    machine: Machine,
    texts: Sequence[str],
    seconds: float,
    watcher: psutil.Process | None,
) -> Period:
    """Measure one period under load."""
    async with AsyncClient(endpoint) as stars:
        start = await load(stars, texts, 0, SETTLE_S)
        before, started_s = machine.processor_s(watcher), time.perf_counter()
        num_calls = await load(stars, texts, start, seconds)
        elapsed_s, after = time.perf_counter() - started_s, machine.processor_s(watcher)
    whole_s, router_s = (a - b for a, b in zip(after, before, strict=True))
    return Period(
        calls_per_s=num_calls / elapsed_s,
        processor_s=whole_s / num_calls,
        router_s=router_s / num_calls,
    )


def period(state: RunState, texts: Sequence[str], seconds: float, *, watched: bool) -> Period:
    """Measure one period, with Prometheus and a listener that live as long as the period."""
    machine = Machine(state)
    with ExitStack() as stack:
        watcher = None
        if watched:
            assert state.metrics is not None
            assert state.http is not None
            prometheus = stack.enter_context(scraping(state.metrics))
            listener = stack.enter_context(EventListener(state.http))
            watcher = prometheus.process
        found = asyncio.run(measure(state.endpoint, machine, texts, seconds, watcher))
        if watched:
            prometheus.check()
            listener.check(seconds)
    return found


def mean_ratio(ratios: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Return the geometric mean of ratios and its 95 % interval by Student's t on their logs."""
    logs = [math.log(ratio) for ratio in ratios]
    middle = statistics.fmean(logs)
    half = stats.t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(middle), (math.exp(middle - half), math.exp(middle + half))


def report(pairs: Sequence[dict[bool, Period]], counting: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of all pairs."""
    calls = {on: [pair[on].calls_per_s for pair in pairs] for on in (False, True)}
    ratio, (low, high) = mean_ratio(
        [pair[True].calls_per_s / pair[False].calls_per_s for pair in pairs]
    )
    processor, edges = mean_ratio(
        [pair[True].processor_s / pair[False].processor_s for pair in pairs]
    )
    return {
        "calls_per_s_unwatched": round(statistics.median(calls[False]), 1),
        "calls_per_s_watched": round(statistics.median(calls[True]), 1),
        "spread": {
            name: [round(min(calls[on]), 1), round(max(calls[on]), 1)]
            for name, on in (("unwatched", False), ("watched", True))
        },
        "cost_ratio": round(1 - ratio, 4),
        "interval": [round(1 - high, 4), round(1 - low, 4)],
        "processor_cost_ratio": round(processor - 1, 4),
        "processor_interval": [round(edge - 1, 4) for edge in edges],
        "router_us": {
            name: round(statistics.median(pair[on].router_s for pair in pairs) * 1e6)
            for name, on in (("unwatched", False), ("watched", True))
        },
        "counting": counting,
        "pairs": len(pairs),
        "cores": os.cpu_count(),
    }


def run(artifacts: Path, num_pairs: int, seconds: float) -> dict[str, Any]:
    """Start a constellation, measure it pair by pair, and stop it."""
    texts = query_texts(artifacts, TEXTS)
    counting = asyncio.run(counting_cost.measure(artifacts, TEXTS))
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            artifacts=artifacts,
            run_dir=Path(folder) / "run",
            serve={"port": 0, "http_port": 0, "metrics_port": 0},
        )
        state = launcher_process.start(settings)
        try:
            pairs = []
            for number in range(num_pairs):
                order = (False, True) if number % 2 == 0 else (True, False)
                pairs.append({on: period(state, texts, seconds, watched=on) for on in order})
                print(json.dumps({str(on): f"{pairs[-1][on].calls_per_s:.1f}" for on in order}))
        finally:
            launcher_process.stop(settings.run_dir)
    return report(pairs, counting)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts/starter"))
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=15.0)
    asked = parser.parse_args()
    if asked.pairs < 2:
        parser.error("an interval needs at least 2 pairs")
    prepare_environment()
    sys.stdout.write(json.dumps(run(asked.artifacts, asked.pairs, asked.seconds)) + "\n")


if __name__ == "__main__":
    main()
