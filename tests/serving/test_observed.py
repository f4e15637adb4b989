"""A constellation that traces its requests and measures its kernels together, as settings ask."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import launcher_process
from constellation import Client
from constellation.settings import Settings
from tests.support.artifacts import PROMPTS
from tests.support.collector import Collector

pytestmark = pytest.mark.ray

PROMPT = ". ".join(PROMPTS.values())
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REQUEST = "constellation.v1.ConstellationService/Ask"
SERVED = "constellation.v1.KernelService/Ask"


def wait_until(true: Callable[[], bool]) -> None:
    pause, deadline_s = threading.Event(), time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline_s
        pause.wait(0.05)


def test_spans_of_all_processes_reach_the_collector_and_prompts_are_measured(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Collector() as collector:
        settings = Settings(
            artifacts=artifacts,
            run_dir=tmp_path / "run",
            serve={"port": 0, "http": False, "collective_rate": 600},
            tracing={"endpoint": collector.endpoint},
        )
        state = launcher_process.start(settings)
        try:
            with Client(state.endpoint) as stars:
                reply = stars.ask(PROMPT, tokens_max=2, traceparent=PARENT)
                wait_until(lambda: _measured(stars) > 0)
                assert stars.status().num_unexpected_errors == 0
        finally:
            launcher_process.stop(settings.run_dir)
    assert reply.trace_id == PARENT.split("-")[1]
    own = [span for span in collector.spans() if span.trace_id == reply.trace_id]
    spans = {span.name: span for span in own}
    assert spans[REQUEST].service == "constellation-router"
    assert spans[REQUEST].parent_id == PARENT.split("-")[2]
    assert spans[SERVED].service == "constellation-kernel"
    assert spans[SERVED].parent_id == spans["kernel"].span_id


def _measured(stars: Client) -> int:
    """Ask once more, and say how many prompts were measured."""
    stars.ask(PROMPT, tokens_max=1)
    found = stars.status().collective_phi
    assert found is not None
    return found.num_prompts
