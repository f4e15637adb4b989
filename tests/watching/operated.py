"""A constellation under load, watched by a real Prometheus, for tests and pictures of dashboards.

The load uses every feature that a panel shows: all modes, streamed and whole answers, named
kernels, queries out of domain, refused queries, a killed process, a change of what is served, and
the status of a training.
"""

import itertools
import json
import math
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from cluster import launcher_process
from cluster.state_file import RunState
from constellation import Client
from constellation.client.requests import AskOptions
from constellation.errors import ConstellationError
from constellation.records import Mode
from constellation.settings import Settings
from tests.watching.prometheus_server import PrometheusServer
from tools.grafana_boards.board_queries import BoardQuery, plain_promql
from training.progress.events import KernelProgress
from training.progress.run_log import RunLog

PROMETHEUS_FOLDER: Final = Path(__file__).parents[2] / "cluster" / "prometheus"
RULES: Final = tuple(PROMETHEUS_FOLDER / name for name in ("recording.yml", "alerts.yml"))
WINDOW: Final = "10s"
"""Replaces `$__rate_interval`: ten scrapes of the Prometheus of the tests."""
FAR_K: Final = np.full(64, 1e-9)
"""A basin that is far from every kernel's: nearly all of its weight is on one outcome."""
FAR_K[63] = 1 - FAR_K[:63].sum()


Prompts = Mapping[str, Sequence[str]]
"""Kernel -> texts of its domain."""


@dataclass(frozen=True, kw_only=True)
class Operated:
    """A running constellation and the Prometheus that watches the constellation."""

    state: RunState
    settings: Settings
    prometheus: PrometheusServer


@contextmanager
def operated(settings: Settings, folder: Path) -> Iterator[Operated]:
    """Run a constellation and a Prometheus with the project's configuration and rules.

    Args:
        settings: Configuration of the constellation.
        folder: Where Prometheus keeps its data.
    """
    state = launcher_process.start(settings)
    try:
        assert state.metrics is not None
        configuration = configuration_for(state.metrics)
        with PrometheusServer(folder, configuration, rules=RULES) as prometheus:
            yield Operated(state=state, settings=settings, prometheus=prometheus)
    finally:
        launcher_process.stop(settings.run_dir)


def configuration_for(metrics: str) -> dict[str, Any]:
    """Return the project's configuration of Prometheus for another host:port of the metrics."""
    text = (PROMETHEUS_FOLDER / "prometheus.yml").read_text(encoding="utf-8")
    assert "127.0.0.1:50251" in text
    content: dict[str, Any] = yaml.safe_load(text.replace("127.0.0.1:50251", metrics))
    return content


class VariedLoad:
    """Threads that ask in every way that changes a metric, until the block ends.

    Args:
        endpoint: host:port of a router.
        prompts: Kernel -> texts of its domain.
        num_threads: Requests under way at one time.

    Attributes:
        outcomes: Number of requests by outcome: "ok" or the class of the error.
    """

    def __init__(
        self, endpoint: str, prompts: Mapping[str, Sequence[str]], *, num_threads: int = 4
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self._endpoint = endpoint
        self._prompts = list(prompts.items())
        self._num_threads = num_threads
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask_until_stopped, args=(first,))
            for first in range(num_threads)
        ]

    def __enter__(self) -> "VariedLoad":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask_until_stopped(self, first: int) -> None:
        with Client(self._endpoint) as stars:
            for number in itertools.count(first, self._num_threads):
                if self._stop.is_set():
                    return
                try:
                    self._ask(stars, number)
                    self.outcomes["ok"] += 1
                except ConstellationError as error:
                    self.outcomes[type(error).__name__] += 1

    def _ask(self, stars: Client, number: int) -> None:
        chance = random.Random(number)
        weights = range(1, len(self._prompts) + 1)  # not all kernels are asked equally often
        ((kernel, texts),) = chance.choices(self._prompts, weights)
        text = chance.choice(texts)
        long = (text * 8)[:400]  # a short text says too little to be out of domain
        ways: tuple[tuple[str, AskOptions], ...] = (
            (text, {}),
            (text, {"mode": Mode.NEAREST, "handoff": True}),
            (text, {}),
            (text, {"mode": Mode.MIXTURE}),
            (text, {"mode": Mode.POSTERIOR}),
            (text, {"kernel": kernel}),
            (long, {"basin": FAR_K}),
            (long, {"basin": FAR_K, "refuse": 0.5}),
        )
        text, options = chance.choice(ways)
        if chance.random() < 0.5:
            stars.ask(text, tokens_max=8, seed=number, **options)
        else:
            for _ in stars.stream(text, tokens_max=24, seed=number, **options):
                pass


def kill_kernel(endpoint: str, kernel: str) -> None:
    """Kill the process of a kernel; return when the kernel answers from another process."""
    with Client(endpoint) as stars:
        before = process_of(stars, kernel)
        os.kill(before, signal.SIGKILL)
        _wait_until(lambda: process_of(stars, kernel) not in (0, before))


def process_of(stars: Client, kernel: str) -> int:
    """Return the id of the process that serves a kernel; 0 while the kernel is down."""
    found = (each for each in stars.status().kernels if each.name == kernel and each.up)
    return next((each.pid for each in found), 0)


def change_what_is_served(endpoint: str, kernel: str, *, after_s: float = 0) -> None:
    """Remove a kernel, and go back to the release with the kernel `after_s` seconds later."""
    with Client(endpoint) as stars:
        stars.retire(kernel)
        threading.Event().wait(after_s)
        stars.roll_back()


def log_training(artifacts: Path, events: Iterable[KernelProgress]) -> None:
    """Write the events of a training as a training does, which renews the status that is shown."""
    log = RunLog(artifacts, status_every_s=0)
    for event in events:
        log(event)


def progress_events(log: Path) -> list[KernelProgress]:
    """Return the progress that `metrics.jsonl` of a finished training holds, oldest first."""
    rows = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    return [
        KernelProgress(**{name: value for name, value in row.items() if name != "event"})
        for row in rows
        if row["event"] == KernelProgress.__name__
    ]


def texts_of_domains(artifacts: Path) -> dict[str, list[str]]:
    """Return kernel -> passages of held-out documents of its domain, 300 characters each."""
    rows = (artifacts / "corpus" / "dev.jsonl").read_text(encoding="utf-8").splitlines()
    passages: dict[str, list[str]] = {}
    for document in map(json.loads, rows):
        text = document["text"]
        found = [text[at : at + 300] for at in range(0, len(text) - 300, 300)]
        passages.setdefault(document["domain"], []).extend(found)
    return {domain: passages[domain] for domain in sorted(passages)}


def without_data(
    prometheus: PrometheusServer, queries: Iterable[BoardQuery], *, span_s: int
) -> list[BoardQuery]:
    """Return the queries whose result over the latest `span_s` seconds is empty or only NaN."""
    return [query for query in queries if not _has_data(prometheus, query, span_s)]


def _has_data(prometheus: PrometheusServer, query: BoardQuery, span_s: int) -> bool:
    expression = plain_promql(query.expression, window=WINDOW, span=f"{span_s}s")
    if query.instant:
        found = prometheus.query(expression)
    else:
        found = prometheus.query_range(expression, seconds=span_s)
    return any(not math.isnan(value) for series in found for _, value in series.values)


def _wait_until(true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(600):
        if true():
            return
        pause.wait(0.1)
    raise AssertionError("not true within 60 s")
