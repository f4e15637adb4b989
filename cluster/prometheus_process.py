"""Run an installed Prometheus as a child process: start Prometheus, read its alerts, end it."""

import http.client
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from constellation.errors import DeploymentError
from constellation.loopback import LOOPBACK_ADDRESS

HOST: Final = LOOPBACK_ADDRESS
"""Prometheus asks nobody for a password, so that only this machine may reach it."""
READY_S: Final = 60.0
"""Most seconds from the start until Prometheus answers; reading many old samples takes some."""
_END_S: Final = 20.0
"""Most seconds that Prometheus may take to end before it is killed."""
_ANSWER_S: Final = 5.0
_LOOK_S: Final = 0.1
_LOG: Final = "prometheus.log"


@dataclass(frozen=True, kw_only=True, slots=True)
class PrometheusOptions:
    """How Prometheus is run."""

    folder: Path
    """Folder with `prometheus.yml`; data and log are written there, too."""
    port: int
    """TCP port of the web page and of queries, on loopback."""
    keep_days: int
    """Days after which samples are removed, from 1."""


@dataclass(frozen=True, order=True, slots=True)
class FiringAlert:
    """One alert that fires now."""

    name: str
    labels: tuple[tuple[str, str], ...]
    """Kernel, process, node and so on; together with the name they make an alert this alert."""
    severity: str = field(compare=False)
    summary: str = field(compare=False)
    """What is wrong, in one line with names and values, which change while the alert fires."""


def find_prometheus() -> str:
    """Return the path of the program `prometheus`.

    Raises:
        DeploymentError: Prometheus is not installed; says how to install it.
    """
    found = shutil.which("prometheus")
    if found is None:
        raise DeploymentError(
            "the program prometheus is not installed or not in PATH; install it with: apt-get "
            "install prometheus (Debian, Ubuntu) or brew install prometheus, or run Prometheus and "
            "Grafana in containers with cluster/compose/compose.yaml"
        )
    return found


class Prometheus:
    """A running Prometheus.

    Attributes:
        url: Base URL of the web page, which also answers queries.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", options: PrometheusOptions) -> None:
        """Store the process; `running_prometheus` starts it."""
        self.url = f"http://{HOST}:{options.port}"
        self._process = process
        self._options = options

    def check(self) -> None:
        """Check that Prometheus still runs.

        Raises:
            DeploymentError: Prometheus has ended; with the reason that Prometheus logged.
        """
        code = self._process.poll()
        if code is None:
            return
        log = self._options.folder / _LOG
        raise DeploymentError(f"Prometheus ended with code {code}: {_reason(log)} (log: {log})")

    def is_ready(self) -> bool:
        """Return whether Prometheus answers queries."""
        return self._get("/-/ready") is not None

    def reload(self) -> None:
        """Have Prometheus read its configuration and its rules again."""
        self._process.send_signal(signal.SIGHUP)

    def firing(self) -> list[FiringAlert] | None:
        """Return the alerts that fire now; None when Prometheus did not answer in time."""
        body = self._get("/api/v1/alerts")
        if body is None:
            return None
        alerts: list[dict[str, Any]] = json.loads(body)["data"]["alerts"]
        return sorted(_firing(each) for each in alerts if each["state"] == "firing")

    def end(self) -> None:
        """End Prometheus, and wait until its samples are written."""
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _get(self, path: str) -> bytes | None:
        connection = http.client.HTTPConnection(HOST, self._options.port, timeout=_ANSWER_S)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.read() if reply.status == http.client.OK else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


@contextmanager
def running_prometheus(
    program: str, options: PrometheusOptions, stop: threading.Event
) -> Iterator[Prometheus]:
    """Run Prometheus while the block runs.

    Args:
        program: Path of the program.
        options: How to run it.
        stop: Ends the wait for Prometheus early when set.

    Raises:
        DeploymentError: The port is taken, the configuration is refused, another Prometheus uses
            the folder, or Prometheus did not answer in time.
    """
    check_port(options.port)
    prometheus = Prometheus(_spawn(program, options), options)
    try:
        _wait_until_ready(prometheus, stop)
        yield prometheus
    finally:
        prometheus.end()


def _spawn(program: str, options: PrometheusOptions) -> "subprocess.Popen[bytes]":
    try:
        with (options.folder / _LOG).open("wb") as log:
            # A session of its own: Ctrl-C reaches this process only, which then ends Prometheus.
            return subprocess.Popen(
                command(program, options), stdout=log, stderr=log, start_new_session=True
            )
    except OSError as error:
        raise DeploymentError(f"cannot start {program}: {error}") from error


def command(program: str, options: PrometheusOptions) -> Sequence[str]:
    """Return the command that runs Prometheus."""
    return (
        program,
        f"--config.file={options.folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={options.folder / 'data'}",
        f"--storage.tsdb.retention.time={options.keep_days}d",
        f"--web.listen-address={HOST}:{options.port}",
        "--log.level=warn",
    )


def check_port(port: int) -> None:
    """Check that a port of loopback is free.

    Raises:
        DeploymentError: Another process listens there.
    """
    try:
        with socket.create_server((HOST, port)):
            return
    except OSError as error:
        raise DeploymentError(
            f"cannot listen on {HOST}:{port}: {error.strerror}; choose another port with --port"
        ) from error


def _wait_until_ready(prometheus: Prometheus, stop: threading.Event) -> None:
    deadline_s = time.monotonic() + READY_S
    while not prometheus.is_ready():
        prometheus.check()
        if time.monotonic() > deadline_s:
            raise DeploymentError(f"Prometheus did not answer within {READY_S:.0f} s")
        if stop.wait(_LOOK_S):
            return


def _firing(alert: dict[str, Any]) -> FiringAlert:
    labels, said = alert["labels"], alert["annotations"]
    return FiringAlert(
        name=labels["alertname"],
        labels=tuple(sorted(labels.items())),
        severity=labels.get("severity", ""),
        summary=said.get("summary", ""),
    )


def _reason(log: Path) -> str:
    """Return the error of the last line that Prometheus logged."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1] if lines else "no reason was logged"
    return last.partition(" err=")[2].strip('"') or last
