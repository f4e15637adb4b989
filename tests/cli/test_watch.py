"""`watch` runs a real Prometheus with our rules until Ctrl-C, or says in a line why not."""

import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from cluster.prometheus_process import PrometheusOptions, find_prometheus, running_prometheus
from cluster.state_file import RunState, own_start_mark, write_state
from cluster.subprocesses import module_command
from constellation.errors import DeploymentError
from tests.cli.conftest import Run
from tests.watching.prometheus_server import needs_prometheus
from tests.watching.test_rules import promtool

METRICS = """
# TYPE constellation_rejected_total counter
constellation_rejected_total{member="router",reason="InternalError"} 1
"""


class Launcher(BaseHTTPRequestHandler):
    """Answers as the launcher does: one target, which is this server, and a few metrics.

    Notes the alerts that Prometheus sends, as an Alertmanager does.
    """

    received: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        host, port = self.server.server_address[:2]
        targets = [{"targets": [f"{host!s}:{port}"], "labels": {"node": "n"}}]
        is_list = self.path == "/targets"
        body = json.dumps(targets) if is_list else METRICS
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if is_list else "text/plain")
        self.end_headers()
        self.wfile.write(body.encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.extend(each["labels"]["alertname"] for each in json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def launcher(run_dir: Path) -> Iterator[str]:
    """Serve metrics as the launcher of a constellation in `run_dir`; yield host:port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Launcher)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    metrics = f"127.0.0.1:{server.server_port}"
    run_dir.mkdir(parents=True, exist_ok=True)
    state = RunState(
        pid=os.getpid(),
        started=own_start_mark(),
        endpoint="127.0.0.1:1",
        artifacts="x",
        kernels=("mail",),
        metrics=metrics,
    )
    write_state(run_dir, state)
    try:
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_without_prometheus_the_command_says_how_to_get_it_before_anything_else(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    result = run("watch")
    assert result.exit_code == 1
    assert "apt-get install prometheus" in result.stderr
    assert "cluster/compose/compose.yaml" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@needs_prometheus
def test_without_a_constellation_the_command_says_so(run: Run) -> None:
    result = run("watch")
    assert result.exit_code == 1
    assert "nothing runs from runs/local; start it with: constellation up" in result.stderr


@needs_prometheus
def test_a_port_that_is_taken_is_named(run: Run, tmp_path: Path) -> None:
    with launcher(tmp_path / "run") as metrics:
        port = metrics.rpartition(":")[2]
        result = run("watch", "--run-dir", tmp_path / "run", "--port", port)
    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr
    assert "--port" in result.stderr


@needs_prometheus
def test_the_written_configuration_is_one_for_this_constellation_and_is_valid(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--write", tmp_path / "own", "--alertmanager", "127.0.0.1:9093")
    with launcher(tmp_path / "run") as metrics, monkeypatch.context() as patch:
        patch.setenv("PATH", "")  # no Prometheus is needed here
        result = run("watch", "--run-dir", tmp_path / "run", *arguments)
    assert result.exit_code == 0, result.stderr
    text = (tmp_path / "own" / "prometheus.yml").read_text()
    assert f"http://{metrics}/targets" in text
    assert "127.0.0.1:9093" in text
    assert "SUCCESS" in promtool("check", "config", tmp_path / "own" / "prometheus.yml")


@pytest.mark.parametrize("address", ["nowhere", 'x":9093', "localhost:99999"])
def test_an_alertmanager_without_an_address_is_refused_before_anything_else(
    run: Run, address: str
) -> None:
    result = run("watch", "--alertmanager", address)
    assert result.exit_code == 2
    assert f"--alertmanager is {address!r}; give host:port" in result.stderr


def test_a_folder_that_cannot_be_written_to_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with launcher(tmp_path / "run"):
        result = run("watch", "--run-dir", tmp_path / "run", "--write", tmp_path / "file" / "own")
    assert result.exit_code == 1
    assert str(tmp_path / "file" / "own") in result.stderr


@needs_prometheus
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("scrape_configs: 5", "cannot unmarshal"),
        ("global: {scrape_interval: soon}", "not a valid duration"),
    ],
)
def test_a_configuration_that_prometheus_refuses_is_an_error_with_the_reason(
    tmp_path: Path, content: str, reason: str
) -> None:
    (tmp_path / "prometheus.yml").write_text(content)
    terms = PrometheusOptions(folder=tmp_path, port=free_port(), keep_days=1)
    with (
        pytest.raises(DeploymentError, match=f"Prometheus ended .*{reason}"),
        running_prometheus(find_prometheus(), terms, threading.Event()),
    ):
        pass


@needs_prometheus
@pytest.mark.slow
def test_the_command_shows_and_sends_an_alert_follows_the_constellation_and_ends_with_ctrl_c(
    tmp_path: Path,
) -> None:
    run_dir, port = tmp_path / "run", free_port()
    arguments = ("watch", "--run-dir", str(run_dir), "--port", str(port))
    with launcher(run_dir) as metrics:
        arguments += ("--alertmanager", metrics)
        watching = subprocess.Popen(
            module_command("cluster.cli.main", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            said = read_until(watching, "alerts appear below")
            assert f"http://127.0.0.1:{port}/alerts" in said
            assert "kept for 15 days" in said
            assert (run_dir / "prometheus").stat().st_mode & 0o077 == 0
            assert "warning ConstellationUnexpectedErrors: Process router" in read_until(
                watching, "ConstellationUnexpectedErrors"
            )
            wait_until(lambda: "ConstellationUnexpectedErrors" in Launcher.received)
            with launcher(run_dir) as elsewhere:  # as if it was started again at another port
                own = run_dir / "prometheus" / "prometheus.yml"
                wait_until(lambda: f"http://{elsewhere}/targets" in own.read_text())
            (prometheus,) = psutil.Process(watching.pid).children()
        finally:
            watching.send_signal(signal.SIGINT)
            last, _ = watching.communicate(timeout=30)
    assert watching.returncode == 0
    assert last.splitlines()[-1] == "Prometheus has ended"
    assert not prometheus.is_running()


def read_until(watching: "subprocess.Popen[str]", words: str) -> str:
    """Return the lines up to the one with these words; fails where none comes within 60 s."""
    assert watching.stdout is not None
    lines, deadline_s = "", time.monotonic() + 60
    while words not in lines:
        ready, _, _ = select.select([watching.stdout], [], [], deadline_s - time.monotonic())
        assert ready, lines
        line = watching.stdout.readline()
        assert line, lines
        lines += line
    return lines


def wait_until(is_true: Callable[[], bool]) -> None:
    pause, deadline_s = threading.Event(), time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < deadline_s
        pause.wait(0.1)
