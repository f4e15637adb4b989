"""Workers that train together in one process, each in a thread: the oracle for Ray's."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from torch import Tensor

from training.loop.step import Peers

T = TypeVar("T")
TIMEOUT_S = 60.0


class _Group:
    def __init__(self, world: int) -> None:
        self.world = world
        self.barrier = threading.Barrier(world, timeout=TIMEOUT_S)
        self.tensors: dict[int, Tensor] = {}


class ThreadPeer:
    """One of the workers."""

    def __init__(self, group: _Group, rank: int) -> None:
        self._group, self.rank, self.world = group, rank, group.world

    def sum(self, tensor: Tensor) -> None:
        group = self._group
        group.tensors[self.rank] = tensor.clone()
        group.barrier.wait()
        total = group.tensors[0].clone()
        for rank in range(1, self.world):
            total += group.tensors[rank]
        group.barrier.wait()
        tensor.copy_(total)

    def wait(self) -> None:
        self._group.barrier.wait()


def run_together(world: int, work: Callable[[Peers], T]) -> list[T]:
    """Run `work` once per worker at the same time; return what each returned, by rank."""
    group = _Group(world)
    with ThreadPoolExecutor(world) as pool:
        futures = [pool.submit(work, ThreadPeer(group, rank)) for rank in range(world)]
        return [future.result(timeout=TIMEOUT_S) for future in futures]
