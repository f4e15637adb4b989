"""What a real constellation of two routers says of itself: sums, release, node and training."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.cli.main import app
from cluster.state_file import RunState
from constellation import Client
from tests.support.artifacts import PROMPTS

pytestmark = pytest.mark.ray


def state_of(constellation: RunState, *flags: str) -> dict[str, Any]:
    """Return what `constellation status --json` prints."""
    arguments = ["status", "--json", "--endpoint", constellation.endpoint, *flags]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def wait_for(constellation: RunState, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the first state of which something is true."""
    pause, deadline_s = threading.Event(), time.monotonic() + 30
    while not true(told := state_of(constellation)):
        assert time.monotonic() < deadline_s
        pause.wait(0.1)
    return told


def routed(told: dict[str, Any]) -> int:
    return sum(kernel["num_routed"] for kernel in told["kernels"])


def test_requests_to_both_routers_are_added_up_and_seen_within_the_minute(
    constellation: RunState,
) -> None:
    before = wait_for(constellation, lambda told: not told["routers_unanswered"])
    for endpoint in constellation.endpoints:
        with Client(endpoint) as stars:
            for prompt in PROMPTS.values():
                stars.ask(prompt, tokens_max=4)
    assert routed(state_of(constellation)) == routed(before) + 2 * len(PROMPTS)
    told = wait_for(
        constellation,
        lambda told: sum(each["tokens"] for each in told["traffic"]["seconds"]) >= 4,
    )
    assert told["routers_summed"] == 2
    assert 0 < told["traffic"]["latency_s"]["p50"] <= told["traffic"]["latency_s"]["p99"]
    [node] = told["nodes"]
    assert {kernel["node"] for kernel in told["kernels"]} == {node["id"]}
    expected = len(told["kernels"]) + 3  # two routers and the registry
    wait_for(constellation, lambda told: told["nodes"][0]["processes"] == expected)


def test_a_router_that_hangs_is_named_and_the_other_one_is_shown(constellation: RunState) -> None:
    told = wait_for(constellation, lambda told: not told["routers_unanswered"])
    other = next(each for each in told["routers"] if each["endpoint"] != constellation.endpoint)
    os.kill(other["pid"], signal.SIGSTOP)
    try:
        hung = state_of(constellation, "--timeout", "0.5")
    finally:
        os.kill(other["pid"], signal.SIGCONT)
    assert (hung["state"], hung["routers_unanswered"]) == ("degraded", [other["name"]])


def test_the_time_since_a_release_is_served_outlives_the_registry(
    constellation: RunState,
) -> None:
    before = wait_for(constellation, lambda told: bool(told["release"]["since"]))
    assert 0 < time.time() - before["release"]["since"] < 600
    os.kill(before["registry_pid"], signal.SIGKILL)
    after = wait_for(
        constellation, lambda told: told["registry_pid"] not in (0, before["registry_pid"])
    )
    assert after["release"] == before["release"]
    assert after["releases"] == before["releases"]


def test_a_training_in_the_artifacts_is_shown_while_its_file_is_there(
    constellation: RunState, artifacts: Path
) -> None:
    rows = {"sql": {"kernel": "sql", "state": "FINISHED", "step": 3, "num_steps": 3}}
    path = artifacts / "status.json"
    path.write_text(json.dumps({"updated": datetime.now(UTC).isoformat(), "kernels": rows}))
    try:
        told = wait_for(constellation, lambda told: told["training"] is not None)
        assert told["training"]["state"] == "FINISHED"
        assert told["training"]["kernels"][0]["step"] == 3
    finally:
        path.unlink()
