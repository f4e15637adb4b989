"""The memory that kernels are predicted to need on a node."""

from constellation.records import KernelNeed
from constellation.runtime.kernel_memory import PROCESS_BYTES, kernel_needs, rooms_for_processes

SIZES = {"a": 1000, "b": 10, "c": 0}
SEATS = {"a": 7, "b": None}


def test_a_lone_kernel_needs_its_files_twice_and_a_process() -> None:
    found = kernel_needs(SIZES, SEATS, per_process=1, slots=4, prefix_bytes=5)
    assert found == [
        KernelNeed(name="a", memory_bytes=2000 + PROCESS_BYTES + 5, seat=7),
        KernelNeed(name="b", memory_bytes=20 + PROCESS_BYTES + 5),
        KernelNeed(name="c", memory_bytes=PROCESS_BYTES + 5),
    ]
    (one,) = kernel_needs({"a": 1000}, {}, per_process=1, slots=1, prefix_bytes=0)
    assert one.memory_bytes == 1000 + PROCESS_BYTES


def test_kernels_of_one_process_share_it_and_are_laid_out_once() -> None:
    found = kernel_needs(SIZES, SEATS, per_process=4, slots=4, prefix_bytes=400)
    assert [each.memory_bytes - (PROCESS_BYTES + 400) // 4 for each in found] == [1000, 10, 0]


def test_processes_have_room_for_so_many_kernels_whichever_they_are() -> None:
    needs = kernel_needs(SIZES, SEATS, per_process=2, slots=1, prefix_bytes=0)
    largest = max(need.memory_bytes for need in needs)
    assert rooms_for_processes(needs, 3) == 3 * largest
    assert rooms_for_processes(needs, 0) == rooms_for_processes([], 3) == 0
