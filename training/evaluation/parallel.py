"""Run independent pieces of torch work in parallel, one thread and core each.

Splitting every small operation over the cores makes them wait for each other all the time, which
costs several times the work itself when something else runs on the machine.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from constellation.machine_limits import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return `[work(item) for item in items]`, computed in one thread for every usable core.

    Torch releases Python's lock while it computes; within `work` it uses one thread.
    """
    with _one_thread_each(), ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(work, items))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that start later take this over
    try:
        yield
    finally:
        torch.set_num_threads(before)
