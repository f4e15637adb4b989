"""Kernels on several nodes: apart, at once elsewhere when a node dies, in place when one joins."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from constellation import Client
from constellation.client.replies import ConstellationStatus
from constellation.errors import ConstellationError
from tests.machines.deployments import deployed
from tests.machines.raylets import Raylets, RayNode
from tests.serving.load import Load
from tests.support.artifacts import PROMPTS

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.slow]

WHOLE_S = 90.0


def nodes_of(status: ConstellationStatus) -> dict[str, set[str]]:
    """Return kernel -> ids of the nodes of its processes that are up."""
    return {
        each.name: {one.node for one in each.replicas if one.up} if each.replicas else {each.node}
        for each in status.kernels
        if each.up
    }


def wait_until(
    stars: Client, true: Callable[[ConstellationStatus], bool], timeout_s: float = WHOLE_S
) -> ConstellationStatus:
    deadline_s, pause = time.monotonic() + timeout_s, threading.Event()
    while True:
        try:
            status = stars.status(timeout_s=2)
        except ConstellationError:
            continue
        if true(status):
            return status
        assert time.monotonic() < deadline_s, nodes_of(status)
        pause.wait(0.1)


def whole_without(gone: RayNode, num_processes: int) -> Callable[[ConstellationStatus], bool]:
    def true(status: ConstellationStatus) -> bool:
        nodes = nodes_of(status)
        up = [each for kernel in status.kernels for each in kernel.replicas or (kernel,) if each.up]
        return len(up) == num_processes and not any(gone.id in each for each in nodes.values())

    return true


def say(stars: Client) -> dict[str, str]:
    asked = {"tokens_max": 12, "temperature": 1.0, "seed": 3}
    return {
        name: stars.ask(prompt, kernel=name, **asked).text  # type: ignore[arg-type]
        for name, prompt in PROMPTS.items()
    }


def test_the_kernels_of_a_dead_node_are_placed_on_the_others_and_no_request_fails(
    artifacts: Path, tmp_path: Path
) -> None:
    with (
        Raylets(3) as raylets,
        deployed(raylets.address, artifacts, tmp_path / "run", kernel={"slots": 2}) as state,
        Client(state.endpoint) as stars,
    ):
        before = stars.status()
        said = say(stars)
        assert set().union(*nodes_of(before).values()) == {each.id for each in raylets.nodes}
        lost = raylets.nodes[-1]
        with Load(state.endpoint, retries=None) as load:
            raylets.kill(lost)
            after = wait_until(stars, whole_without(lost, len(PROMPTS)))
        assert set(load.outcomes) == {"ok"}, load.outcomes
        assert not load.wrong
        stayed = {name: at for name, at in nodes_of(before).items() if lost.id not in at}
        assert nodes_of(after).items() >= stayed.items()
        assert say(stars) == said
        raylets.add()
        joined = wait_until(stars, lambda status: len(status.overview.nodes) == 3)
        assert nodes_of(joined) == nodes_of(after)
        with Load(state.endpoint, retries=None) as load:
            (moved,) = stars.rebalance().moved
            balanced = wait_until(stars, whole_without(lost, len(PROMPTS)))
        assert set(load.outcomes) == {"ok"}, load.outcomes
        assert not load.wrong
        assert nodes_of(balanced) == nodes_of(after) | {moved: {raylets.nodes[-1].id}}
        assert say(stars) == said
        assert stars.rebalance().moved == ()


def test_replicas_are_apart_and_those_that_shared_a_node_move_when_a_node_joins(
    artifacts: Path, tmp_path: Path
) -> None:
    kernel = {"slots": 2, "replicas": 2}
    with (
        Raylets(2) as raylets,
        deployed(raylets.address, artifacts, tmp_path / "run", kernel=kernel) as state,
        Client(state.endpoint) as stars,
    ):
        both = {each.id for each in raylets.nodes}
        assert nodes_of(stars.status()) == dict.fromkeys(PROMPTS, both)
        said = say(stars)
        lost = raylets.nodes[-1]
        with Load(state.endpoint, retries=None) as load:
            raylets.kill(lost)
            alone = wait_until(stars, whole_without(lost, 2 * len(PROMPTS)))
            assert nodes_of(alone) == {name: {raylets.head.id} for name in PROMPTS}
        assert set(load.outcomes) == {"ok"}, load.outcomes
        # Without load: a fork of this process, which starts the node, may break calls in threads.
        added = raylets.add()
        apart = {name: {raylets.head.id, added.id} for name in PROMPTS}
        with Load(state.endpoint, retries=None) as load:
            wait_until(stars, lambda status: nodes_of(status) == apart)
            wait_until(stars, whole_without(lost, 2 * len(PROMPTS)))
        assert set(load.outcomes) == {"ok"}, load.outcomes
        assert not load.wrong
        assert say(stars) == said
