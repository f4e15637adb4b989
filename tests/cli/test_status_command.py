"""`constellation status` as a user types it, against routers whose kernels are made up."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from constellation.records import RouterStatus, Traffic
from constellation.settings import child_environment
from tests.cli.conftest import Run
from tests.cli.test_status_lines import BUSY
from tests.wire.fakes import Served
from tests.wire.test_status_document import full

ROOT = str(Path(__file__).parents[2])
PROGRESS = "constellation status"
"""How a progress line begins."""


def router(name: str, endpoint: str) -> RouterStatus:
    return RouterStatus(name=name, endpoint=endpoint, up=True, pid=5, num_restarts=0)


def say(served: Served, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Have a router say a state of its own."""
    state = replace(full(), start_problem="", health={}, **changes)
    monkeypatch.setattr(served.router, "state", lambda: state)


@pytest.fixture
def second() -> Iterator[Served]:
    with Served() as served:
        yield served


@pytest.fixture
def two(served: Served, second: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """Return the first of two routers, which name each other."""
    routers = (router("router", served.endpoint), router("router-2", second.endpoint))
    told = {"routers": routers, "traffic": BUSY}
    say(served, monkeypatch, name="router", num_routed={"python": 30, "poetry": 10}, **told)
    say(second, monkeypatch, name="router-2", num_routed={"python": 50}, uptime_s=9e4, **told)
    return served


def test_the_counts_of_all_routers_are_added_up(run: Run, two: Served) -> None:
    said = run("status", "--endpoint", two.endpoint).stdout
    assert "200 requests/s, 4,000 tokens/s written" in said
    assert "counts of 2 are added up" in said
    assert "up 1 d 1 h" in said
    told = json.loads(run("status", "--json", "--endpoint", two.endpoint).stdout)
    assert [each["num_routed"] for each in told["kernels"]] == [80, 10, 0]
    assert told["traffic"]["requests_per_s"] == 200
    assert (told["routers_summed"], told["routers_unanswered"]) == (2, [])


def test_a_router_that_does_not_answer_is_named_and_the_others_are_added_up(
    run: Run, two: Served, second: Served
) -> None:
    second.stop()
    result = run("status", "--endpoint", two.endpoint)
    assert result.exit_code == 0
    assert "degraded" in result.stdout
    assert "router router-2 is down or not answering" in result.stdout
    assert "100 requests/s" in result.stdout
    told = json.loads(run("status", "--json", "--endpoint", two.endpoint).stdout)
    assert told["routers_unanswered"] == ["router-2"]


def test_json_has_the_release_the_nodes_the_training_and_what_is_wrong(
    run: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(served, monkeypatch)
    told = json.loads(run("status", "--json", "--endpoint", served.endpoint).stdout)
    assert told["release"] == {"number": 2, "since": 50.0}
    assert told["releases"] == [{"number": 2, "made": 40.0, "change": "add sql", "parent": 1}]
    assert told["nodes"][0]["memory_free_bytes"] == 32
    assert told["training"]["kernels"][0]["num_steps"] == 8
    assert (told["state"], told["problems"][0]) == ("degraded", "kernel law is down")
    former = {
        "endpoint", "http", "launcher_pid", "memory_bytes", "kernels", "table_version",
        "coordizer_hash", "router_pid", "registry_pid", "uptime_s", "load_entropy_ratio",
        "num_unexpected_errors", "routers", "collective_phi", "start_problem", "refusal",
    }  # fmt: skip
    assert former <= told.keys()


def test_the_whole_output_fits_80_columns(run: Run, two: Served) -> None:
    said = run("status", "--all", "--endpoint", two.endpoint).stdout
    assert max(map(len, said.splitlines())) <= 80


def watching(endpoint: str, *flags: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "cluster.cli.main", "status", "--watch", "--every", "0.2",
         "--endpoint", endpoint, *flags],
        env=child_environment({"PYTHONPATH": ROOT}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_watching_prints_line_after_line_and_ends_on_ctrl_c_without_a_stack_trace(
    flags: tuple[str, ...], served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(served, monkeypatch, traffic=BUSY)
    program = watching(served.endpoint, *flags)
    assert program.stdout is not None
    try:
        lines: list[str] = []
        while sum("degraded" in line for line in lines) < 3:
            line = program.stdout.readline()
            assert line, "the program ended"
            lines.append(line)
        program.send_signal(signal.SIGINT)
        _, complaints = program.communicate(timeout=20)
    finally:
        program.kill()
    assert program.returncode == 0
    # On a busy machine the start takes so long that a progress line says so.
    assert [each for each in complaints.splitlines() if not each.startswith(PROGRESS)] == []
    if flags:
        assert {json.loads(line)["state"] for line in lines} == {"degraded"}
    else:
        end = ", 100 requests/s, 0.05 failed/s, p99 2.04 s\n"
        assert lines[-1][8:] == f" degraded: kernel law is down{end}"


@pytest.mark.slow
def test_watching_goes_on_when_the_constellation_is_gone_and_comes_back(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(served, monkeypatch)
    program = watching(served.endpoint, "--timeout", "0.3")
    assert program.stdout is not None
    assert program.stderr is not None
    try:
        assert "degraded" in program.stdout.readline()
        served.stop()
        while not program.stderr.readline().startswith("down: "):  # gRPC may say so, too
            assert program.poll() is None
        served.start_again()
        while " degraded: " not in program.stdout.readline():
            assert program.poll() is None
    finally:
        program.kill()
        program.communicate()


@pytest.mark.slow
def test_on_a_terminal_the_state_stays_on_the_screen(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(served, monkeypatch, traffic=Traffic())
    screen, end = os.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "cluster.cli.main", "status", "--watch", "--every", "0.2",
         "--endpoint", served.endpoint],
        env=child_environment({"PYTHONPATH": ROOT, "TERM": "xterm", "COLUMNS": "80"}),
        stdin=end, stdout=end, stderr=end, start_new_session=True,
    )  # fmt: skip
    os.close(end)
    seen = b""
    try:
        while seen.count(b"last 60 s") < 3:  # drawn three times
            seen += os.read(screen, 4096)
        program.send_signal(signal.SIGINT)
        program.wait(timeout=20)
        while True:
            seen += os.read(screen, 4096)
    except OSError:  # the end of a terminal whose program has ended
        pass
    finally:
        program.kill()
        os.close(screen)
    assert program.returncode == 0
    assert b"\x1b[" in seen, "the cursor goes back up"
    assert b"Traceback" not in seen
