"""How much memory every kernel takes on a node, predicted from the sizes of its files. Pure.

    need = files (twice, where matrices are laid out a second time) + part of its process

Keys and values of texts are left out: they follow from the shape of a kernel and are small beside
the weights. `cluster/capacity.py` computes the memory of one shape exactly.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from constellation.records import KernelNeed

PROCESS_BYTES: Final = 196 * 2**20
"""Memory of a process of kernels that was not forked, as on a Ray cluster that was joined (measured
for `cluster/capacity.py`)."""


def kernel_needs(
    sizes: Mapping[str, int],
    seats: Mapping[str, int | None],
    *,
    per_process: int,
    slots: int,
    prefix_bytes: int,
) -> list[KernelNeed]:
    """Return the predicted memory of kernels, in their order.

    Args:
        sizes: Kernel -> size in bytes of all of its files; 0 when the size is not known.
        seats: Kernel -> index of its seat.
        per_process: Kernels of one process, which share its memory.
        slots: Texts that a kernel writes at the same time.
        prefix_bytes: Memory of one process for prompts that were read.
    """
    # A lone kernel that writes several texts lays its matrices out a second time.
    copies = 2 if per_process == 1 and slots > 1 else 1
    share = (PROCESS_BYTES + prefix_bytes) // per_process
    return [
        KernelNeed(name=name, memory_bytes=copies * size + share, seat=seats.get(name))
        for name, size in sizes.items()
    ]


def rooms_for_processes(needs: Iterable[KernelNeed], num_kernels: int) -> int:
    """Return memory in bytes for so many kernels, whichever they are; 0 for none.

    For kernels on GPUs, where the number of processes is limited and each process plans its memory.
    """
    return num_kernels * max((need.memory_bytes for need in needs), default=0)
