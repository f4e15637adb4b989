"""Placements as the registry makes them: from Ray's nodes, and what is known of the kernels."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from actors.ray_nodes import AliveNode
from actors.registry.kernel_moves import lost_members, pairs
from actors.registry.kernel_placing import KernelPlacing
from actors.registry.nodes import Nodes
from actors.spec import DeploymentSpec, KernelOptions, RouterDoors, RouterOptions
from constellation.errors import GrowthRefused
from constellation.records import KernelSite, Rule, Table
from constellation.runtime.kernel_memory import PROCESS_BYTES
from constellation.runtime.placement import Placement

ROOM = PROCESS_BYTES + 16 * 2**20
"""Memory of one kernel whose files are not known."""


class FakeNodes:
    """Nodes with room for so many kernels."""

    def __init__(self, **num_kernels: int) -> None:
        self.alive = {
            name: AliveNode(address=f"10.0.0.{number}", memory_bytes=ROOM * num, num_gpus=number)
            for number, (name, num) in enumerate(num_kernels.items())
        }


def placing(path: Path, nodes: FakeNodes, **kernel: Any) -> KernelPlacing:
    spec = DeploymentSpec(
        namespace="here",
        artifacts=path / "artifacts",
        run_dir=path,
        routers=(RouterDoors(member="router", listen=("127.0.0.1", 0)),),
        router=RouterOptions(),
        kernel=KernelOptions(**kernel),
        network="nodes",
    )
    return KernelPlacing(spec, cast(Nodes, nodes))


def table(*names: str) -> Table:
    point_K = np.full(64, 1 / 64)
    sites = tuple(
        KernelSite(
            name=name,
            basin_K=point_K,
            bearing_K=point_K,
            radii=dict.fromkeys(Rule, 1.0),
            seat=number,
        )
        for number, name in enumerate(names)
    )
    return Table(
        version=1,
        coordizer_hash="",
        background_K=point_K,
        temperatures=dict.fromkeys(Rule, 1.0),
        sites=sites,
        release=1,
    )


def nodes_of(placement: Placement) -> dict[str, list[str]]:
    return {
        kernel: [at.node for at in places]
        for kernel, places in placement.replicas_located().items()
    }


def test_kernels_are_placed_on_nodes_that_live_and_wait_for_those_with_room(tmp_path: Path) -> None:
    async def story() -> None:
        nodes = FakeNodes(a=2, b=1)
        ours = placing(tmp_path, nodes)
        first = await ours.fitted(table("k", "l", "m"), Placement(1, {}))
        assert sorted(node for each in nodes_of(first).values() for node in each) == ["a", "a", "b"]
        with pytest.raises(
            GrowthRefused, match=r"'n'.* 0\.00 GB are free on each device of 2 nodes"
        ):
            await ours.admitted("n", table("k", "l", "m", "n"), first)
        del nodes.alive["b"]
        fewer = await ours.fitted(table("k", "l", "m"), first)
        (pending,) = fewer.pending
        assert lost_members(first, fewer) == (f"kernel-{pending}",)
        nodes.alive |= FakeNodes(x=1, c=5).alive
        whole = await ours.fitted(table("k", "l", "m"), fewer)
        assert (whole.pending, nodes_of(whole)[pending]) == ({}, ["c"])
        assert pairs(fewer) < pairs(whole)
        assert await ours.spread(table("k", "l", "m"), whole) == whole
        more = await ours.admitted("n", table("k", "l", "m", "n"), whole)
        assert pairs(more) - pairs(whole) == {("n", "kernel-n")}

    asyncio.run(story())


def test_a_kernel_that_joins_does_not_start_kernels_that_are_pending(tmp_path: Path) -> None:
    async def story() -> None:
        ours = placing(tmp_path, FakeNodes(a=3))
        before = replace(
            await ours.fitted(table("k"), Placement(1, {})), pending={"big": "no node has room"}
        )
        after = await ours.admitted("l", table("k", "big", "l"), before)
        assert after.pending == {"big": "no node has room"}
        assert pairs(after) - pairs(before) == {("l", "kernel-l")}

    asyncio.run(story())


def test_replicas_are_apart_and_rebalancing_fills_a_node_that_joined(tmp_path: Path) -> None:
    async def story() -> None:
        nodes = FakeNodes(a=9, b=9)
        ours, names = placing(tmp_path, nodes), table(*"klmn")
        first = await ours.fitted(names, Placement(1, {}, replicas=2))
        assert all(sorted(each) == ["a", "b"] for each in nodes_of(first).values())
        nodes.alive |= FakeNodes(x=9, y=9, c=9).alive
        del nodes.alive["x"], nodes.alive["y"]
        assert await ours.fitted(names, first) == first
        after = await ours.rebalanced(names, first)
        on_c = [name for name, each in nodes_of(after).items() if "c" in each]
        assert len(on_c) == 2
        assert all(len(set(each)) == 2 for each in nodes_of(after).values())

    asyncio.run(story())


def test_on_gpus_nodes_have_room_for_their_processes_and_nodes_without_have_none(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        nodes = FakeNodes(none=50, one=1, two=1)  # with 0, 1 and 2 GPUs
        ours = placing(tmp_path, nodes, device="cuda", per_gpu=2, per_actor=3)
        names = [f"k{number:02}" for number in range(20)]
        found = await ours.fitted(table(*names), Placement(3, {}))
        assert len(found.pending) == 2
        members = [found.location_of(member).node for member in found.processes]
        assert {node: members.count(node) for node in members} == {"one": 2, "two": 4}

    asyncio.run(story())


def test_on_one_machine_nodes_are_not_looked_at(tmp_path: Path) -> None:
    async def story() -> None:
        ours = placing(tmp_path, FakeNodes())
        ours._spec = replace(ours._spec, network="loopback")
        before = Placement(2, {}, replicas=2)
        found = await ours.fitted(table("k", "l"), before)
        assert found == before.fitted(["k", "l"])
        assert await ours.admitted("m", table("k", "l", "m"), found) == found.admitted("m")
        assert await ours.rebalanced(table("k", "l"), found) == found

    asyncio.run(story())
