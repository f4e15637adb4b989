"""What watches a constellation: Prometheus with the shipped configuration, and a listener."""

import http.client
import json
import socket
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import psutil

from cluster.prometheus_configuration import write_configuration
from cluster.prometheus_process import (
    HOST,
    READY_S,
    Prometheus,
    PrometheusOptions,
    find_prometheus,
    running_prometheus,
)


@dataclass(frozen=True, slots=True)
class Scraping:
    """A Prometheus that scrapes a constellation."""

    prometheus: Prometheus
    process: psutil.Process

    def check(self) -> None:
        """Raise SystemExit unless all targets are scraped and rules are evaluated."""
        states = self.states()
        groups = self._get("rules")["groups"]
        if not states or set(states) != {"up"} or not groups:
            raise SystemExit(f"Prometheus sees targets {states} and {len(groups)} groups of rules")

    def states(self) -> list[str]:
        """Return the state of every target: up, down or unknown."""
        return [target["health"] for target in self._get("targets")["activeTargets"]]

    def _get(self, what: str) -> Any:
        url = f"{self.prometheus.url}/api/v1/{what}"
        with urllib.request.urlopen(url, timeout=READY_S) as reply:
            return json.load(reply)["data"]


@contextmanager
def scraping(metrics: str) -> Iterator[Scraping]:
    """Run Prometheus as `constellation watch` does; yield once a target was scraped.

    Args:
        metrics: host:port of the launcher's metrics.
    """
    with tempfile.TemporaryDirectory() as folder, socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        server.close()
        write_configuration(Path(folder), metrics)
        options = PrometheusOptions(folder=Path(folder), port=port, keep_days=1)
        before = set(psutil.Process().children())
        with running_prometheus(find_prometheus(), options, threading.Event()) as prometheus:
            (process,) = set(psutil.Process().children()) - before
            found = Scraping(prometheus, process)
            _wait_for_a_scrape(found)
            yield found


def _wait_for_a_scrape(found: Scraping) -> None:
    end_s, pause = time.monotonic() + READY_S, threading.Event()
    while "up" not in found.states():
        if time.monotonic() > end_s:
            raise SystemExit(f"Prometheus scraped nothing within {READY_S:.0f} s")
        pause.wait(0.2)


class EventListener(threading.Thread):
    """Reads the event stream of a router's status until it is closed, and counts the events.

    Args:
        url: Base URL of the router's HTTP API.
    """

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=READY_S)
        self.num_events = 0
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        """Connect; raise SystemExit if the router refuses the stream."""
        self._connection.request("GET", "/status/events")
        self._reply = self._connection.getresponse()
        if self._reply.status != http.client.OK:
            raise SystemExit(f"GET /status/events: status {self._reply.status}")
        self.start()
        return self

    def run(self) -> None:
        """Read lines until the end; an event is a line of data."""
        while not self._closing.is_set() and (line := self._reply.readline()):
            self.num_events += line.startswith(b"data:")

    def check(self, seconds: float) -> None:
        """Raise SystemExit if less than an event every two seconds came."""
        if self.num_events < seconds / 2:
            raise SystemExit(f"{self.num_events} events in {seconds:.0f} s; one a second is due")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        self.join(READY_S)
        self._connection.close()
