"""Kernels go where there is room, and nobody moves because another joins or leaves."""

import random

import pytest

from constellation.errors import ConfigError
from constellation.runtime.placement import Placement, is_kernel_member


def placed(placement: Placement) -> dict[str, str]:
    return {kernel: member for member, names in placement.processes.items() for kernel in names}


def test_with_room_for_one_every_kernel_has_a_process_of_its_name() -> None:
    placement = Placement(1, {}).fitted(["mail", "network"])
    assert placement.processes == {"kernel-mail": ("mail",), "kernel-network": ("network",)}
    assert placement.left("mail").joined("poems").processes == {
        "kernel-network": ("network",),
        "kernel-poems": ("poems",),
    }


def test_processes_are_filled_in_order_and_end_with_their_last_kernel() -> None:
    placement = Placement(2, {}).fitted("abcde")
    assert list(placement.processes.values()) == [("a", "b"), ("c", "d"), ("e",)]
    placement = placement.left("c").left("d")
    assert placement.processes == {"kernels-1": ("a", "b"), "kernels-3": ("e",)}
    placement = placement.joined("f").joined("g")
    assert placement.of("f") == "kernels-3"
    assert placement.of("g") == "kernels-2"
    with pytest.raises(KeyError):
        placement.of("c")


def test_nobody_moves_and_no_process_is_overfull() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        room = rng.randint(1, 4)
        placement = Placement(room, {})
        names = [f"k{number}" for number in range(12)]
        for _ in range(60):
            before = placed(placement)
            name = rng.choice(names)
            placement = placement.left(name) if name in before else placement.joined(name)
            after = placed(placement)
            assert after.keys() ^ before.keys() == {name}
            assert all(after[kernel] == before[kernel] for kernel in after.keys() & before.keys())
            assert all(0 < len(kernels) <= room for kernels in placement.processes.values())
            assert all(is_kernel_member(member) for member in placement.processes)


def test_a_placement_is_fitted_to_the_kernels_there_are() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        names = [f"k{number}" for number in range(10)]
        first, second = (rng.sample(names, rng.randint(1, 10)) for _ in range(2))
        before = Placement(3, {}).fitted(first)
        after = before.fitted(second)
        assert sorted(placed(after)) == sorted(second)
        stayed = set(first) & set(second)
        assert {k: placed(after)[k] for k in stayed} == {k: placed(before)[k] for k in stayed}
        assert after.fitted(second) == after


def test_members_are_known_by_their_names() -> None:
    assert is_kernel_member("kernel-a")
    assert is_kernel_member("kernels-12")
    assert not is_kernel_member("router")
    assert not is_kernel_member("router-2")
    assert not is_kernel_member("registry")


def test_a_process_has_room_for_somebody() -> None:
    with pytest.raises(ConfigError, match="from 1"):
        Placement(0, {})
