"""Reuse worker processes for one training after another, since starting them is slow.

A lane is one run of workers: they train a kernel by order, report that it is done, and wait. Orders
are files in a folder of the lane, since the driver and the workers may be on different
machines:

    order-N   the kernel to train next, written by the caller
    go-N      the first worker has seen the order; the others follow it, never the order itself
    done-N    it is trained
    closed    no order will follow, written by the caller
    end       the first worker leaves, and so do the others
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path
from typing import Final

from constellation.errors import TrainingError
from training.json_files import write_json
from training.run_files.shared_files import SHARED, RunFiles

POLL_S: Final = 0.1
"""Seconds between two reads of the other side's files."""
IDLE_S: Final = 2.0
"""Seconds that an idle lane waits for its next kernel; its processes hold memory."""
CLOSE_S: Final = 30.0
"""Seconds that lanes may take to end after the last training."""

RunLane = Callable[[int, Path], None]
"""Function that runs the workers of the lane with this number by the orders in this folder; returns
when they have ended, and raises TrainingError when they were lost."""


class Lanes:
    """The driver's side of all lanes. `train` may be called from several threads at once."""

    def __init__(self, folder: Path, run: RunLane) -> None:
        """Start without any lane.

        Args:
            folder: Folder for orders; must hold no file of an earlier run.
            run: See `RunLane`; called in a thread of its own per lane.
        """
        self._folder = folder
        self._run = run
        self._lock = threading.Lock()
        self._lanes: list[_Lane] = []
        self._idle: list[_Lane] = []

    def train(self, kernel: str) -> None:
        """Train a kernel in an idle lane, or in a new one.

        Returns when it is trained or its lane has left without having trained it, as it does when
        the trainings are stopped.

        Raises:
            TrainingError: The workers were lost.
        """
        try:
            lane = self._take()
            lane.train(kernel)
        except OSError as error:
            raise TrainingError(
                f"cannot write in {self._folder}: {error.strerror}; free some space or mend the "
                "permissions and run again"
            ) from error
        with self._lock:
            self._idle.append(lane)
        late = threading.Timer(IDLE_S, self._close_if_idle, (lane, lane.num_orders))
        late.daemon = True
        late.start()

    def close(self) -> None:
        """End all lanes, none of which trains any more."""
        with self._lock:
            lanes, self._idle = self._lanes, []
        for lane in lanes:
            lane.close()
        for lane in lanes:
            lane.has_left(within_s=CLOSE_S)

    def _take(self) -> "_Lane":
        with self._lock:
            while self._idle:
                lane = self._idle.pop()
                if not lane.has_left():
                    return lane
            number = len(self._lanes)
            lane = _Lane(self._folder / f"lane-{number}", number, self._run)
            self._lanes.append(lane)
            return lane

    def _close_if_idle(self, lane: "_Lane", num_orders: int) -> None:
        with self._lock:
            if lane not in self._idle or lane.num_orders != num_orders:
                return
            self._idle.remove(lane)
        lane.close()


class _Lane:
    """The driver's side of one lane.

    Attributes:
        num_orders: Number of kernels that the lane was ordered to train.
    """

    def __init__(self, folder: Path, number: int, run: RunLane) -> None:
        self.num_orders = 0
        self._folder = folder
        folder.mkdir(parents=True)
        # Threads of a pool do not keep the process from ending, should the workers never leave.
        pool = ThreadPool(1)
        self._running: AsyncResult[None] = pool.apply_async(run, (number, folder))
        pool.close()

    def train(self, kernel: str) -> None:
        number, self.num_orders = self.num_orders, self.num_orders + 1
        write_json(self._folder / f"order-{number}", {"kernel": kernel})
        done = self._folder / f"done-{number}"
        while not done.exists():
            if self.has_left(within_s=POLL_S):
                break
        if not done.exists():
            self._running.get()

    def close(self) -> None:
        with suppress(OSError):  # on a full disk its workers end with Ray
            (self._folder / "closed").touch()

    def has_left(self, *, within_s: float = 0.0) -> bool:
        self._running.wait(within_s)
        return self._running.ready()


def orders(
    folder: Path, *, rank: int, should_stop: Callable[[], bool], files: RunFiles = SHARED
) -> Iterator[str]:
    """Yield the kernels that a lane's worker has to train, one after the other.

    Requesting the next kernel reports the previous one as trained.

    Args:
        folder: Folder of the lane's orders.
        rank: Rank of the worker. The first worker decides, and all others follow.
        should_stop: Whether to end before the next order.
        files: Reads and writes files of the run's folder.
    """
    pause = threading.Event()
    for number in itertools.count():
        order, go, end = (folder / name for name in (f"order-{number}", f"go-{number}", "end"))
        while rank > 0 and not files.exists(go):
            # Looked at again: the first worker may have gone on and left between the two looks.
            if files.exists(end) and not files.exists(go):
                return
            pause.wait(POLL_S)
        while rank == 0 and not files.exists(order):
            if should_stop() or files.exists(folder / "closed"):
                files.write(end, b"")
                return
            pause.wait(POLL_S)
        if rank == 0:
            files.write(go, b"")
        yield str(json.loads(files.read(order))["kernel"])
        if rank == 0:
            files.write(folder / f"done-{number}", b"")
