"""How long does a router take to count one call: metrics, the last minute, the latest routes?

    python -m benchmarks.counting_cost [--artifacts artifacts/starter] [--calls 4000]

A real `RouterHost` on the current release answers one-token requests in this process; its kernels
answer at once, without gRPC. Every function that only keeps books is timed where a call enters it.
Keys of the last line, one JSON object; lower is better:

- `counting_us`: processor microseconds of bookkeeping in one call, the median over the rounds.
- `host_us`: processor microseconds of the whole call in the router's host, without timers: reading
  the text, the decision and the bookkeeping, but neither gRPC nor HTTP.
- `counting_share`: `counting_us` over `host_us`.
- `parts_us`: function -> its microseconds per call; the parts add up to `counting_us`.
- `status_us`: microseconds for the state that one status request or one event reads.
- `metrics_us`: microseconds to write the metrics of the router for one scrape.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from prometheus_client import Counter as PrometheusCounter
from prometheus_client import Gauge, Histogram, Summary, generate_latest

from actors.kernel_connections import KernelLink
from actors.registry_messages import Snapshot
from actors.router.decider import Decider
from actors.router.host import RouterHost
from actors.spec import RouterOptions
from benchmarks.query_texts import query_texts
from constellation.records import Finish, Piece, RoutingOptions, Sampling
from constellation.releases.release_coordizers import ReleasedCoordizers
from constellation.releases.store import ReleaseStore
from constellation.runtime.traffic_window import TrafficWindow
from constellation.wire import convert

ROUNDS = 5
BOOKS: tuple[tuple[type, str], ...] = (
    (Decider, "count"),
    (TrafficWindow, "answered"),
    (TrafficWindow, "began"),
    (TrafficWindow, "wrote"),
    (PrometheusCounter, "inc"),
    (PrometheusCounter, "labels"),
    (Gauge, "inc"),
    (Gauge, "dec"),
    (Histogram, "observe"),
    (Summary, "observe"),
)
"""Classes with the function that keeps books; what runs inside another is part of the other."""


class Stopwatch:
    """Adds up the processor time in functions, from the outermost one of them to its end."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inside = False

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time added to `seconds[name]`."""

        def call(*given: Any, **named: Any) -> Any:
            if self._inside:
                return function(*given, **named)
            self._inside = True
            started_s = time.thread_time()
            try:
                return function(*given, **named)
            finally:
                self.seconds[name] += time.thread_time() - started_s
                self._inside = False

        return call

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time the functions of `BOOKS` while the block runs."""
        patches = [
            mock.patch.object(owner, name, self.timed(f"{owner.__name__}.{name}", function))
            for owner, name in BOOKS
            if (function := owner.__dict__.get(name) or getattr(owner, name))
        ]
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in patches:
                patch.stop()


class InstantLink(KernelLink):
    """A connection to a kernel that answers at once."""

    def __init__(self, endpoint: str, token: str | None) -> None:
        del token
        self.endpoint = endpoint
        end = Finish(reason="length", num_prompt_tokens=1, num_tokens=1, elapsed_s=0.001)
        piece = Piece(text="ok", num_tokens=1, finish=end)
        self._reply = convert.piece_to_message(piece).SerializeToString()

    async def ask(self, request: Any, timeout_s: float, span: Any = None) -> bytes:
        """Return the answer."""
        del request, timeout_s, span
        return self._reply


async def open_host(artifacts: Path) -> RouterHost:
    """Return a router's host that serves the current release of a folder."""
    store = ReleaseStore(artifacts)
    table = store.table(store.read_current())
    sites = tuple(replace(site, endpoint=f"{site.name}:1") for site in table.sites)
    host = RouterHost(ReleasedCoordizers(artifacts), RouterOptions(), token=None)
    with mock.patch("actors.kernel_connections.KernelLink", InstantLink):
        await host.update(Snapshot(table=replace(table, sites=sites), health={}, registry_pid=1))
    return host


async def processor_s(host: RouterHost, texts: list[str]) -> float:
    """Return the processor seconds of one call, on average over the texts."""
    started_s = time.process_time()
    for text in texts:
        await host.ask(text, Sampling(tokens_max=1), RoutingOptions(), timeout_s=30)
    return (time.process_time() - started_s) / len(texts)


def seconds_of(function: Callable[[], object], times: int = 50) -> float:
    """Return the processor seconds of a call of a function, on average."""
    started_s = time.process_time()
    for _ in range(times):
        function()
    return (time.process_time() - started_s) / times


async def measure(artifacts: Path, num_calls: int) -> dict[str, Any]:
    """Return the figures."""
    host, texts = await open_host(artifacts), query_texts(artifacts, num_calls)
    await processor_s(host, texts[: num_calls // 4])
    whole: list[float] = []
    books: list[Counter[str]] = []
    for _ in range(ROUNDS):
        whole.append(await processor_s(host, texts))
        watch = Stopwatch()
        with watch.running():
            await processor_s(host, texts)
        books.append(watch.seconds)
    middle = sorted(books, key=lambda each: each.total())[ROUNDS // 2]
    return {
        "counting_us": round(middle.total() / num_calls * 1e6, 2),
        "host_us": round(statistics.median(whole) * 1e6, 1),
        "counting_share": round(middle.total() / num_calls / statistics.median(whole), 4),
        "parts_us": {name: round(s / num_calls * 1e6, 2) for name, s in middle.most_common()},
        "status_us": round(seconds_of(host.state) * 1e6, 1),
        "metrics_us": round(seconds_of(lambda: generate_latest(host.metrics.registry)) * 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts/starter"))
    parser.add_argument("--calls", type=int, default=4000)
    asked = parser.parse_args()
    print(json.dumps(asyncio.run(measure(asked.artifacts, asked.calls))))


if __name__ == "__main__":
    main()
