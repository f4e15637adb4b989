"""Replicas of a kernel are apart, stay where they are, and move only when that is asked for."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ConfigError
from constellation.records import KernelNeed, Location, Node
from constellation.runtime.node_placement import place, rebalanced, spread
from constellation.runtime.placement import Placement, is_kernel_member
from tests.runtime.test_node_placement import GB, machines, needs, node, seated

replicas = st.integers(1, 4)


def empty(num_replicas: int, per_process: int = 1) -> Placement:
    return Placement(per_process, {}, replicas=num_replicas)


def by_member(placement: Placement) -> dict[tuple[str, str], Location]:
    """Return (kernel, member) -> where the process runs."""
    return {
        (kernel, member): placement.location_of(member)
        for member, names in placement.processes.items()
        for kernel in names
    }


def loads(kernels: list[KernelNeed], placement: Placement, nodes: list[Node]) -> list[int]:
    sizes = {need.name: need.memory_bytes for need in kernels}
    used: Counter[str] = Counter()
    for (kernel, _), at in by_member(placement).items():
        used[at.node] += sizes[kernel]
    return [used[each.id] for each in nodes]


def num_beside_siblings(placement: Placement) -> int:
    """Return how many replicas share a node with an earlier replica of the same kernel."""
    places = placement.replicas_located().values()
    return sum(len(each) - len({at.node for at in each}) for each in places)


@given(st.integers(1, 12), replicas, st.integers(1, 5))
def test_on_one_machine_every_kernel_has_its_processes_and_none_twice_in_one(
    num_kernels: int, num: int, per_process: int
) -> None:
    names = [f"k{number}" for number in range(num_kernels)]
    placement = empty(num, per_process).fitted(names)
    assert all(len(placement.members_of(name)) == num for name in names)
    assert all(len(set(kernels)) == len(kernels) for kernels in placement.processes.values())
    assert all(len(kernels) <= per_process for kernels in placement.processes.values())
    assert all(is_kernel_member(member) for member in placement.processes)
    assert placement.fitted(names) == placement
    first = Placement(per_process, {}).fitted(names)
    assert {name: placement.of(name) for name in names} == {name: first.of(name) for name in names}


def test_further_processes_of_a_kernel_are_numbered_and_end_with_the_kernel() -> None:
    placement = empty(2).fitted(["mail", "mail-2"])
    assert placement.members_of("mail") == ("kernel-mail", "kernel-mail~2")
    assert placement.members_of("mail-2") == ("kernel-mail-2", "kernel-mail-2~2")
    assert placement.left("mail").kernels == ("mail-2",)
    fewer = placement.dropped("mail", "kernel-mail")
    assert fewer.members_of("mail") == ("kernel-mail~2",)
    assert fewer.fitted(["mail"]).members_of("mail") == ("kernel-mail~2", "kernel-mail")
    assert replace(placement, replicas=1).fitted(["mail"]).members_of("mail") == ("kernel-mail",)
    with pytest.raises(ConfigError, match="replicas is 0"):
        empty(0)


@pytest.mark.slow
@given(needs(), machines(), replicas, st.integers(1, 5), st.randoms(use_true_random=False))
def test_replicas_are_on_nodes_of_their_own_as_long_as_there_are_enough(
    kernels: list[KernelNeed], nodes: list[Node], num: int, per_process: int, chance: object
) -> None:
    placement = place(kernels, nodes, empty(num, per_process))
    assert not placement.pending
    for need in kernels:
        places = placement.replicas_located()[need.name]
        on_node = Counter(at.node for at in places)
        assert len(places) == num
        assert len(on_node) == min(num, len(nodes))
        assert max(on_node.values()) - min(on_node.values()) <= 1
    assert all(len(set(names)) == len(names) for names in placement.processes.values())
    chance.shuffle(nodes)  # type: ignore[attr-defined]
    assert place(kernels, nodes, empty(num, per_process)) == placement


@pytest.mark.slow
@given(needs(), machines(min_size=2), replicas, st.data())
def test_a_node_that_leaves_moves_its_own_replicas_only(
    kernels: list[KernelNeed], nodes: list[Node], num: int, data: st.DataObject
) -> None:
    before = place(kernels, nodes, empty(num))
    gone = data.draw(st.sampled_from(nodes))
    left = [each for each in nodes if each is not gone]
    after = place(kernels, left, before)
    stayed = {key: at for key, at in by_member(before).items() if at.node != gone.id}
    assert {key: by_member(after)[key] for key in stayed} == stayed
    assert all(len(after.members_of(need.name)) == num for need in kernels)
    assert all(at.node != gone.id for at in by_member(after).values())


@pytest.mark.slow
@given(needs(), machines(), machines(), replicas)
def test_a_node_that_joins_gets_only_replicas_that_shared_a_node(
    kernels: list[KernelNeed], nodes: list[Node], more: list[Node], num: int
) -> None:
    before = place(kernels, nodes, empty(num))
    known = {each.id for each in nodes}
    joined = [*nodes, *(each for each in more if each.id not in known)]
    assert place(kernels, joined, before) == before
    after = spread(kernels, joined, before)
    assert all(len(after.members_of(need.name)) == num for need in kernels)
    moved = by_member(before).keys() - by_member(after).keys()
    assert len(moved) <= num_beside_siblings(before)
    expected = max(0, num - len(joined)) * len(kernels)
    assert num_beside_siblings(after) == expected
    assert all(
        by_member(after)[key].node not in known
        for key in by_member(after).keys() - by_member(before).keys()
    )
    assert spread(kernels, joined, after) == after


def test_replicas_beyond_the_nodes_share_nodes_and_replicas_without_room_are_pending() -> None:
    placement = place(seated(3), [node(1), node(2)], empty(3))
    assert not placement.pending
    assert num_beside_siblings(placement) == 3
    tight = place(seated(2, memory_gb=40), [node(1), node(2), node(3)], empty(2))
    assert list(tight.pending) == ["k001"]
    assert tight.pending["k001"].startswith("1 of 2 processes have room: kernel 'k001' needs 40")
    whole = place(seated(2, memory_gb=40), [node(number) for number in range(1, 5)], tight)
    assert not whole.pending
    assert by_member(tight).items() <= by_member(whole).items()


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 6), st.integers(1, 3))
def test_rebalancing_equal_kernels_fills_nodes_evenly_by_the_fewest_moves(
    num_kernels: int, num_nodes: int, num_more: int, num: int
) -> None:
    kernels, nodes = seated(num_kernels, memory_gb=0.5), [node(n) for n in range(num_nodes)]
    before = place(kernels, nodes, empty(num))
    joined = [*nodes, *(node(num_nodes + number) for number in range(num_more))]
    after = rebalanced(kernels, joined, before)
    assert num_beside_siblings(after) <= num_beside_siblings(before)
    assert all(len(after.members_of(need.name)) == num for need in kernels)
    full = loads(kernels, after, joined)
    if num == 1 or num <= num_nodes:
        assert max(full) - min(full) <= max(1, num - 1) * GB // 2
    stayed = by_member(before).keys() & by_member(after).keys()
    assert all(by_member(before)[key] == by_member(after)[key] for key in stayed)
    moved = by_member(before).keys() - stayed
    share = num_kernels * num // len(joined)
    needed = sum(max(0, load // (GB // 2) - share - 1) for load in loads(kernels, before, joined))
    assert needed <= len(moved) <= num_kernels * num
    assert rebalanced(kernels, joined, after) == after


@pytest.mark.parametrize("num", [1, 2, 3])
def test_nodes_are_about_equally_full_and_a_balanced_constellation_stays_as_it_is(num: int) -> None:
    nodes = [node(number) for number in range(3)]
    before = place(seated(9), nodes, empty(num))
    full = loads(seated(9), before, nodes)
    assert max(full) - min(full) <= 2 * GB
    assert num_beside_siblings(before) == 0
    balanced = rebalanced(seated(9), nodes, before)
    assert loads(seated(9), balanced, nodes) == [3 * num * GB] * 3
    assert rebalanced(seated(9), nodes, balanced) == balanced


def test_240_kernels_with_two_replicas_are_placed_and_rebalanced_on_30_nodes() -> None:
    nodes = [node(number) for number in range(30)]
    before = place(seated(240, memory_gb=0.5), nodes[1:], empty(2))
    after = rebalanced(seated(240, memory_gb=0.5), nodes, before)
    assert set(loads(seated(240, memory_gb=0.5), after, nodes)) == {8 * GB}
