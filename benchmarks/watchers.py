"""What watches a constellation: Prometheus with the shipped configuration, and a listener."""

import http.client
import json
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

SHIPPED = Path(__file__).parents[1] / "cluster" / "prometheus"
PORT = "127.0.0.1:50251"
"""Address of the node's metrics in the shipped configuration."""
READY_S = 30.0


class Prometheus:
    """Debian's Prometheus with the shipped configuration, scraping one node.

    Args:
        metrics: host:port of the node's metrics.
    """

    def __init__(self, metrics: str) -> None:
        self._metrics = metrics
        self._folder = tempfile.TemporaryDirectory()
        self.url = ""

    @property
    def pid(self) -> int:
        """Process id of Prometheus."""
        return self._process.pid

    def __enter__(self) -> Self:
        """Start Prometheus; return when the node was scraped."""
        program = shutil.which("prometheus")
        if program is None:
            raise SystemExit("prometheus is not installed (Debian: apt-get install prometheus)")
        folder = Path(self._folder.name)
        shutil.copytree(SHIPPED, folder, dirs_exist_ok=True)
        file = folder / "prometheus.yml"
        text = file.read_text(encoding="utf-8")
        assert PORT in text
        file.write_text(text.replace(PORT, self._metrics), encoding="utf-8")
        self._log = (folder / "log").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=self._log,
            stderr=self._log,
        )
        self._wait_for_a_scrape()
        return self

    def check(self) -> None:
        """Raise SystemExit unless all targets are scraped and the rules are loaded."""
        ups = [target["health"] for target in self._get("targets")["activeTargets"]]
        groups = self._get("rules")["groups"]
        if not ups or set(ups) != {"up"} or not groups:
            raise SystemExit(f"Prometheus sees {ups} with {len(groups)} groups of rules")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(READY_S)
        self._log.close()
        self._folder.cleanup()

    def _wait_for_a_scrape(self) -> None:
        end_s, pause = time.monotonic() + READY_S, threading.Event()
        while time.monotonic() < end_s and self._process.poll() is None:
            if not self.url:
                self.url = self._address()
            elif self._is_scraping():
                return
            pause.wait(0.2)
        said = Path(self._log.name).read_text(encoding="utf-8")[-2000:]
        self.__exit__(None, None, None)
        raise SystemExit(f"Prometheus did not scrape within {READY_S:.0f} s: {said}")

    def _address(self) -> str:
        """Return where Prometheus listens, by its log; empty before it does."""
        for line in Path(self._log.name).read_text(encoding="utf-8").splitlines():
            if "Listening on" in line:
                return "http://" + line.rpartition("address=")[2].split()[0].strip('"')
        return ""

    def _is_scraping(self) -> bool:
        targets = self._get("targets")["activeTargets"]
        return any(target["health"] == "up" for target in targets)

    def _get(self, what: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}", timeout=READY_S) as reply:
            return json.load(reply)["data"]


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
        self.num_bytes = 0
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        """Connect; raise SystemExit if the router has no event stream."""
        self._connection.request("GET", "/status/events")
        self._reply = self._connection.getresponse()
        if self._reply.status != http.client.OK:
            raise SystemExit(f"GET /status/events: status {self._reply.status}")
        self.start()
        return self

    def run(self) -> None:
        """Read lines until the end; an event is a line of data."""
        while not self._stop.is_set():
            line = self._reply.readline()
            if not line:
                return
            self.num_events += line.startswith(b"data:")
            self.num_bytes += len(line)

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
        self._stop.set()
        self.join(READY_S)
        self._connection.close()
