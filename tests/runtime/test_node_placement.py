"""Kernels are spread over nodes by memory and by seats, and move only when their node is gone."""

import random
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ConfigError
from constellation.records import CPU, Device, KernelNeed, Location, Node
from constellation.runtime.node_placement import place
from constellation.runtime.placement import Placement, is_kernel_member

GB = 10**9
EMPTY = Placement(1, {})


def node(number: int, *, memory_gb: int = 64, num_devices: int = 0) -> Node:
    devices = tuple(
        Device(name=f"cuda:{index}", memory_bytes=memory_gb * GB) for index in range(num_devices)
    )
    return Node(
        id=f"node-{number}",
        address=f"10.0.0.{number}",
        devices=devices,
        memory_bytes=memory_gb * GB,
    )


def seated(num_kernels: int, memory_gb: float = 1) -> list[KernelNeed]:
    """Return kernels of one size on seats 0, 1, 2 and so on."""
    return [
        KernelNeed(name=f"k{seat:03}", memory_bytes=round(memory_gb * GB), seat=seat)
        for seat in range(num_kernels)
    ]


def used(kernels: list[KernelNeed], placement: Placement) -> Counter[Location]:
    """Return the bytes that are used on every device."""
    sizes = {need.name: need.memory_bytes for need in kernels}
    used: Counter[Location] = Counter()
    for kernel, at in placement.located.items():
        used[at] += sizes[kernel]
    return used


def room(nodes: list[Node]) -> dict[Location, int]:
    return {
        Location(node=each.id, device=device): memory
        for each in nodes
        for device, memory in each.memory_of_devices.items()
    }


def pairs_beside(kernels: list[KernelNeed], placement: Placement) -> int:
    """Return how many neighbours on the ring of occupied seats share a node."""
    ring = sorted((need for need in kernels if need.seat is not None), key=lambda each: each.seat)
    if len(ring) < 2:
        return 0
    at = placement.located
    pairs = zip(ring, [*ring[1:], ring[0]], strict=True)
    return sum(at[one.name].node == at[other.name].node for one, other in pairs)


@st.composite
def needs(draw: st.DrawFn, *, min_size: int = 0) -> list[KernelNeed]:
    """Draw kernels of 0 to 4 GB, most of them with a seat."""
    names = draw(
        st.lists(st.sampled_from([f"k{n}" for n in range(60)]), unique=True, min_size=min_size)
    )
    seats = draw(st.permutations(range(240)))[: len(names)]
    return [
        KernelNeed(
            name=name,
            memory_bytes=draw(st.integers(0, 4 * GB)),
            seat=draw(st.sampled_from([seat, seat, seat, None])),
        )
        for name, seat in zip(names, seats, strict=True)
    ]


@st.composite
def machines(draw: st.DrawFn, *, min_size: int = 1, max_size: int = 8) -> list[Node]:
    """Draw nodes that each have room for all kernels that `needs` draws."""
    numbers = draw(st.lists(st.integers(0, 30), unique=True, min_size=min_size, max_size=max_size))
    return [
        node(
            number,
            memory_gb=draw(st.integers(240, 1000)),
            num_devices=draw(st.sampled_from([0, 0, 1, 2])),
        )
        for number in numbers
    ]


per_process = st.integers(1, 5)


@pytest.mark.slow
@given(needs(), machines(), per_process)
def test_every_kernel_is_placed_once_within_memory_and_no_process_is_overfull(
    kernels: list[KernelNeed], nodes: list[Node], at_most: int
) -> None:
    placement = place(kernels, nodes, Placement(at_most, {}))
    members = placement.processes
    assert sorted(k for names in members.values() for k in names) == sorted(
        need.name for need in kernels
    )
    assert all(0 < len(names) <= at_most for names in members.values())
    assert all(is_kernel_member(member) for member in members)
    rooms = room(nodes)
    assert all(size <= rooms[at] for at, size in used(kernels, placement).items())


@pytest.mark.slow
@given(needs(), machines(), per_process, st.randoms(use_true_random=False))
def test_the_order_of_nodes_and_kernels_changes_no_location(
    kernels: list[KernelNeed], nodes: list[Node], at_most: int, chance: object
) -> None:
    placement = place(kernels, nodes, Placement(at_most, {}))
    assert place(kernels, nodes, Placement(at_most, {})) == placement
    shuffled = list(kernels), list(nodes)
    for each in shuffled:
        chance.shuffle(each)  # type: ignore[attr-defined]
    assert place(*shuffled, Placement(at_most, {})).located == placement.located


@pytest.mark.slow
@given(needs(min_size=1), machines(min_size=3))
def test_with_three_nodes_and_room_no_two_neighbours_share_a_node(
    kernels: list[KernelNeed], nodes: list[Node]
) -> None:
    assert pairs_beside(kernels, place(kernels, nodes, EMPTY)) == 0


@given(st.integers(2, 40))
def test_two_nodes_take_turns_around_the_ring(num_kernels: int) -> None:
    placement = place(seated(num_kernels), [node(1), node(2)], EMPTY)
    assert pairs_beside(seated(num_kernels), placement) == num_kernels % 2


@pytest.mark.slow
@given(needs(), machines(), per_process, st.data())
def test_a_node_that_leaves_moves_its_own_kernels_only_and_neighbours_stay_apart(
    kernels: list[KernelNeed], nodes: list[Node], at_most: int, data: st.DataObject
) -> None:
    before = place(kernels, nodes, Placement(at_most, {}))
    gone = data.draw(st.sampled_from(nodes))
    left = [each for each in nodes if each is not gone]
    if not left:
        return
    after = place(kernels, left, before)
    stayed = {k: at for k, at in before.located.items() if at.node != gone.id}
    assert {k: after.located[k] for k in stayed} == stayed
    assert {k: after.of(k) for k in stayed} == {k: before.of(k) for k in stayed}
    assert all(at.node != gone.id for at in after.located.values())
    if len(left) >= 3:
        assert pairs_beside(kernels, after) == 0


@pytest.mark.slow
@given(needs(), machines(), machines(), per_process)
def test_a_node_that_joins_moves_no_kernel(
    kernels: list[KernelNeed], nodes: list[Node], more: list[Node], at_most: int
) -> None:
    before = place(kernels, nodes, Placement(at_most, {}))
    known = {each.id for each in nodes}
    joined = [*nodes, *(each for each in more if each.id not in known)]
    assert place(kernels, joined, before) == before


@pytest.mark.slow
@given(needs(), needs(), machines(), per_process)
def test_kernels_that_join_and_leave_move_no_other(
    first: list[KernelNeed], second: list[KernelNeed], nodes: list[Node], at_most: int
) -> None:
    before = place(first, nodes, Placement(at_most, {}))
    after = place(second, nodes, before)
    stayed = before.located.keys() & {need.name for need in second}
    assert after.located.keys() == {need.name for need in second}
    assert {k: after.of(k) for k in stayed} == {k: before.of(k) for k in stayed}
    assert {k: after.located[k] for k in stayed} == {k: before.located[k] for k in stayed}


@given(st.lists(st.integers(1, GB), max_size=40), st.integers(1, 10))
def test_equal_nodes_differ_by_one_kernel_at_most(sizes: list[int], num_nodes: int) -> None:
    kernels = [
        KernelNeed(name=f"k{number}", memory_bytes=size) for number, size in enumerate(sizes)
    ]
    nodes = [node(number) for number in range(num_nodes)]
    full = used(kernels, place(kernels, nodes, EMPTY))
    loads = [full[Location(node=each.id)] for each in nodes]
    assert max(loads) - min(loads) <= max(sizes, default=0)


@pytest.mark.parametrize("num_nodes", [3, 4, 8])
def test_equal_nodes_differ_by_two_kernels_at_most_although_neighbours_stay_apart(
    num_nodes: int,
) -> None:
    nodes = [node(number) for number in range(num_nodes)]
    for seed in range(100):
        draw = random.Random(seed)
        sizes = [draw.choice([1, GB, draw.randint(1, GB)]) for _ in range(draw.randint(1, 60))]
        kernels = [
            KernelNeed(name=f"k{seat:03}", memory_bytes=size, seat=seat)
            for seat, size in enumerate(sizes)
        ]
        full = used(kernels, place(kernels, nodes, EMPTY))
        loads = [full[Location(node=each.id)] for each in nodes]
        assert max(loads) - min(loads) <= 2 * max(sizes)


@pytest.mark.slow
@given(needs(), per_process, st.lists(st.sampled_from([f"k{n}" for n in range(60)]), unique=True))
def test_one_node_is_the_placement_of_one_machine(
    kernels: list[KernelNeed], at_most: int, earlier: list[str]
) -> None:
    """Also after kernels joined and left: the same processes with the same kernels."""
    nodes = [node(1, memory_gb=1000)]
    before = [KernelNeed(name=name, memory_bytes=1) for name in earlier]
    local = Placement(at_most, {}).fitted(earlier)
    alone = place(before, nodes, Placement(at_most, {}))
    assert alone.processes == local.processes
    names = [need.name for need in kernels]
    assert place(kernels, nodes, alone).processes == local.fitted(names).processes
    assert local.located == dict.fromkeys(earlier, Location())


def test_a_kernel_for_which_no_memory_is_left_is_pending_with_name_and_size() -> None:
    kernels = [*seated(3, memory_gb=30), KernelNeed(name="big", memory_bytes=50 * GB)]
    placement = place(kernels, [node(1), node(2)], EMPTY)
    assert placement.located.keys() == {"k000", "k001", "k002"}
    assert placement.pending.keys() == {"big"}
    assert "needs 50.00 GB on one device, and at most 34.00 GB" in placement.pending["big"]
    assert "2 nodes" in placement.pending["big"]
    assert "0 nodes" in place(seated(1), [], EMPTY).pending["k000"]
    assert place([], [], EMPTY) == EMPTY
    joined = place(kernels, [node(1), node(2), node(3)], placement)
    assert (joined.pending, joined.located["big"].node) == ({}, "node-3")


def test_what_fits_by_size_is_not_refused_because_of_seats() -> None:
    """Around the ring the large one would come last, when no node has room for it any more."""
    small = [KernelNeed(name=f"s{seat}", memory_bytes=30 * GB, seat=seat) for seat in range(2)]
    kernels = [*small, KernelNeed(name="big", memory_bytes=60 * GB, seat=2)]
    assert len(place(kernels, [node(1), node(2)], EMPTY).located) == 3


def test_kernels_go_to_the_accelerators_of_a_node_that_has_some() -> None:
    kernels = seated(4, memory_gb=60)
    placement = place(kernels, [node(1, num_devices=4)], EMPTY)
    assert {at.device for at in placement.located.values()} == {f"cuda:{n}" for n in range(4)}
    placement = place(seated(1), [node(1)], EMPTY)
    assert {at.device for at in placement.located.values()} == {CPU}


def test_processes_are_of_one_device_each() -> None:
    kernels = seated(8)
    placement = place(kernels, [node(1, num_devices=2), node(2)], Placement(8, {}))
    assert len(placement.processes) == 3
    assert len({placement.location_of(member) for member in placement.processes}) == 3


def test_240_kernels_are_placed_on_30_nodes_within_a_second() -> None:
    nodes = [node(number) for number in range(30)]
    started_s = time.perf_counter()
    placement = place(seated(240), nodes, EMPTY)
    after = place(seated(240), nodes[1:], placement)
    assert time.perf_counter() - started_s <= 1.0
    assert set(Counter(at.node for at in placement.located.values()).values()) == {8}
    assert pairs_beside(seated(240), after) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Node(id="", address="a", memory_bytes=1), "empty id"),
        (lambda: Node(id="n", address="a", memory_bytes=0), "node 'n' has 0 bytes"),
        (lambda: Device(name="cuda:0", memory_bytes=0), "device 'cuda:0' has 0 bytes"),
        (lambda: KernelNeed(name="k", memory_bytes=-1), "kernel 'k' needs -1 bytes"),
        (
            lambda: Node(
                id="n",
                address="a",
                memory_bytes=1,
                devices=(Device(name="d", memory_bytes=1), Device(name="d", memory_bytes=2)),
            ),
            "a name of its own",
        ),
    ],
)
def test_nodes_that_cannot_be_are_refused(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]
