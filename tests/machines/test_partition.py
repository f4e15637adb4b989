"""A node that is silent for a while and comes back: nobody is restarted, and no request fails."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.state_file import RunState
from constellation import Client
from constellation.client import ConstellationStatus
from constellation.errors import ConstellationError
from tests.machines.deployments import deployed
from tests.machines.raylets import HEALTH_CHECKS, Raylets, RayNode
from tests.serving.load import Load

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.slow]

SILENT_S = 8.0
"""Longer than three heartbeats, and shorter than Ray takes to call a node dead."""
PATIENT = {**HEALTH_CHECKS, "health_check_failure_threshold": 60}
"""As Ray is set up by default, by which a node may be silent for half a minute."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Raylets]:
    with Raylets(2, system=PATIENT) as made:
        yield made


@pytest.fixture(scope="module")
def state(
    cluster: Raylets, artifacts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunState]:
    with deployed(cluster.address, artifacts, tmp_path_factory.mktemp("run") / "run") as found:
        yield found


def kernels_on(node: RayNode, status: ConstellationStatus) -> dict[str, int]:
    """Return kernel -> process of the kernels on a node."""
    pids = {process.pid for process in node.processes()}
    return {each.name: each.pid for each in status.kernels if each.pid in pids}


def wait_until(stars: Client, reached: object) -> ConstellationStatus:
    pause, started_s = threading.Event(), time.monotonic()
    while time.monotonic() - started_s < 60:
        try:
            status = stars.status(timeout_s=2)
        except ConstellationError:
            continue
        if reached(status):  # type: ignore[operator]
            return status
        pause.wait(0.1)
    raise AssertionError(f"not reached: {status}")


def test_a_node_that_was_silent_serves_again_with_the_same_processes(
    cluster: Raylets, state: RunState
) -> None:
    node = cluster.nodes[1]
    with Client(state.endpoint) as stars:
        before = stars.status()
        there = kernels_on(node, before)
        assert there, [(each.name, each.node) for each in before.kernels]
        with Load(state.endpoint, retries=None) as load:
            cluster.freeze(node)
            wait_until(stars, lambda now: {k.name for k in now.kernels if not k.up} == set(there))
            threading.Event().wait(SILENT_S)
            asked = load.outcomes["ok"]
            cluster.thaw(node)
            after = wait_until(stars, lambda now: all(each.up for each in now.kernels))
            while load.outcomes["ok"] < asked + 16:
                threading.Event().wait(0.05)
        assert load.wrong == []
        assert set(load.outcomes) == {"ok"}
        assert {each.name: each.pid for each in after.kernels} == {
            each.name: each.pid for each in before.kernels
        }
        assert [each.num_restarts for each in after.kernels] == [0] * len(after.kernels)
