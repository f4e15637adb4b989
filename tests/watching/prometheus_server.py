"""A real Prometheus on a loopback port, for tests of metrics, rules and dashboards.

with PrometheusServer(tmp_path, configuration, rules=[RULES]) as prometheus:
    prometheus.wait_until(lambda: prometheus.query("up == 1"))
    assert prometheus.query("sum(constellation_requests_total)")[0].value > 0
"""

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
import yaml

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None,
    reason="prometheus and promtool are not installed (Debian: apt-get install prometheus)",
)
"""Mark of tests that run `prometheus` or `promtool`."""
START_S = 30.0
"""Most seconds from the start of Prometheus until Prometheus answers queries."""
WAIT_S = 60.0
"""Most seconds that `wait_until` waits, unless the caller gives another limit."""
POLL_S = 0.1
FoundT = TypeVar("FoundT")


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One series of an answer of Prometheus."""

    labels: Mapping[str, str]
    """Labels of the series; `__name__` holds the name of the metric, where there is one."""
    values: tuple[tuple[float, float], ...]
    """Pairs (unix seconds, value), oldest first; one pair for an instant query."""

    @property
    def value(self) -> float:
        """The latest value."""
        return self.values[-1][1]


class PrometheusServer:
    """Runs Prometheus while the `with` block runs; ends the process that it started afterwards.

    Args:
        folder: An empty or missing folder for configuration, data and log.
        configuration: The content of prometheus.yml. Global intervals are overwritten with
            `interval_s`, intervals of jobs are removed, and `rule_files` with `rules` if given.
        rules: Rule files to load; None keeps the `rule_files` of the configuration.
        interval_s: Seconds between two scrapes, and between two evaluations of rules.
    """

    def __init__(
        self,
        folder: Path,
        configuration: Mapping[str, Any],
        *,
        rules: Iterable[Path] | None = None,
        interval_s: int = 1,
    ) -> None:
        self._folder = folder
        self._content = _at_interval(configuration, rules, f"{interval_s}s")
        self._log = folder / "prometheus.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        """Start Prometheus; return when Prometheus answers queries."""
        assert PROMETHEUS is not None, "mark the test with `needs_prometheus`"
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(self._content), encoding="utf-8")
        command = [
            PROMETHEUS,
            f"--config.file={file}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            address = self.wait_until(self._listens_at, timeout_s=START_S)
            self.url = f"http://{address}"
            self.wait_until(self._is_ready, timeout_s=START_S)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End Prometheus."""
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def query(self, expression: str) -> list[Series]:
        """Return the series of an expression now; an expression without data gives an empty list.

        Raises:
            AssertionError: Prometheus refuses the expression; the message is that of Prometheus.
        """
        data = self.get("/api/v1/query", query=expression)
        if data["resultType"] == "scalar":
            return [Series(labels={}, values=(_pair(data["result"]),))]
        return [
            Series(labels=each["metric"], values=(_pair(each["value"]),)) for each in data["result"]
        ]

    def query_range(
        self, expression: str, *, seconds: float = 60.0, step_s: float = 1.0
    ) -> list[Series]:
        """Return the series of an expression over the latest `seconds`, one value per step."""
        end = time.time()
        data = self.get(
            "/api/v1/query_range",
            query=expression,
            start=str(end - seconds),
            end=str(end),
            step=str(step_s),
        )
        return [
            Series(labels=each["metric"], values=tuple(map(_pair, each["values"])))
            for each in data["result"]
        ]

    def rules(self) -> dict[str, dict[str, Any]]:
        """Return name -> rule, with `health`, `lastError`, and for an alert `state`."""
        groups = self.get("/api/v1/rules")["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    def alerts(self) -> list[dict[str, Any]]:
        """Return the pending and firing alerts: `labels`, `annotations`, `state`, `value`."""
        found: list[dict[str, Any]] = self.get("/api/v1/alerts")["alerts"]
        return found

    def targets(self) -> list[dict[str, Any]]:
        """Return the active targets: `labels`, `health` (up, down, unknown), `lastError`."""
        found: list[dict[str, Any]] = self.get("/api/v1/targets", state="active")["activeTargets"]
        return found

    def wait_until(
        self, found: Callable[[], FoundT | None], *, timeout_s: float = WAIT_S
    ) -> FoundT:
        """Return what `found` returns as soon as the result is true.

        Raises:
            AssertionError: The result is not true within `timeout_s`, or Prometheus has ended.
        """
        assert self._process is not None
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            assert self._process.poll() is None, f"Prometheus ended: {self._log.read_text()}"
            if result := found():
                return result
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(POLL_S)
        raise AssertionError(f"not true within {timeout_s} s; {self._log.read_text()[-2000:]}")

    def get(self, path: str, **parameters: str) -> Any:
        """Return the field `data` of an answer of the HTTP API of Prometheus."""
        url = f"{self.url}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def _listens_at(self) -> str | None:
        found = re.search(r'"Listening on" address=(\S+)', self._log.read_text(encoding="utf-8"))
        return found[1] if found else None

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=10) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def check_metrics(text: str) -> str:
    """Return what `promtool check metrics` says about the text of a scrape; empty is good."""
    assert PROMTOOL is not None, "mark the test with `needs_prometheus`"
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"],
        input=text,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr


def _at_interval(
    configuration: Mapping[str, Any], rules: Iterable[Path] | None, interval: str
) -> dict[str, Any]:
    """Return a configuration with the same interval for all jobs and all rules."""
    content = dict(configuration)
    intervals = {"scrape_interval": interval, "evaluation_interval": interval}
    timeout = {"scrape_timeout": interval}
    content["global"] = {**content.get("global", {}), **intervals, **timeout}
    content["scrape_configs"] = [
        {key: value for key, value in job.items() if key not in {"scrape_interval", *timeout}}
        for job in content.get("scrape_configs", [])
    ]
    if rules is not None:
        content["rule_files"] = [str(path.resolve()) for path in rules]
    return content


def _pair(pair: list[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])
