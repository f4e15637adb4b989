"""Several nodes on loopback: they join, die, freeze and leave nothing behind."""

import time
from pathlib import Path

import pytest
import ray

from actors import _ray
from cluster.bootstrap import joined_ray
from tests.machines.raylets import Raylets, RayNode

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DEAD_S = 30.0


class Place:
    """Says where it runs."""

    def where(self) -> tuple[str, str]:
        return _ray.node_name(), ray.util.get_node_ip_address()


def alive() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def wait_dead(node: RayNode) -> None:
    end_s = time.monotonic() + DEAD_S
    while node.id in alive():
        assert time.monotonic() < end_s, f"the head lists {node.address} after {DEAD_S} s"


def test_actors_run_on_the_node_that_is_named_and_know_its_address(raylets: Raylets) -> None:
    with joined_ray(raylets.address):
        assert alive() == {node.id for node in raylets.nodes}
        for node in raylets.nodes:
            strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                node.id, soft=False
            )
            actor = ray.remote(Place).options(scheduling_strategy=strategy, num_cpus=0).remote()
            where = _ray.wait_for(actor.where.remote(), timeout_s=30, what="an actor")
            assert where == (node.id, node.address)


def test_a_node_that_joins_and_loses_its_power_is_listed_and_then_dead(raylets: Raylets) -> None:
    with joined_ray(raylets.address):
        node = raylets.add()
        processes = node.processes()
        assert node.id in alive()
        raylets.kill(node)
        assert not any(each.is_running() for each in processes)
        wait_dead(node)
        assert node not in raylets.nodes


def test_a_frozen_node_counts_as_dead_though_its_sockets_stay_open(raylets: Raylets) -> None:
    with joined_ray(raylets.address):
        node = raylets.add()
        raylets.freeze(node)
        wait_dead(node)
        raylets.kill(node)


def test_nothing_is_written_by_which_another_program_would_join() -> None:
    address = Path("/tmp/ray/ray_current_cluster")
    before = address.read_bytes() if address.exists() else None
    with Raylets(1) as cluster:
        processes = cluster.head.processes()
        assert cluster.address.startswith("127.0.0.1:")
    assert (address.read_bytes() if address.exists() else None) == before
    assert not any(each.is_running() for each in processes)
