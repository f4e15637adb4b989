"""Write a run's numbers as TensorBoard files, one folder per kernel so that curves overlay.

They are written by `tensorboardX`, which Ray Train brings along. To look at them, install
`tensorboard` anywhere and run `tensorboard --logdir RUN_FOLDER/tensorboard`.
"""

from pathlib import Path

from tensorboardX import SummaryWriter  # type: ignore[import-untyped]

from training.progress.events import Event, KernelProgress
from training.trackers.scalars import scalars

FLUSH_S = 10
"""Seconds after which numbers are written to disk."""


class TensorBoardFiles:
    """Writes the numbers of every kernel's progress."""

    def __init__(self, folder: Path) -> None:
        """Write into `folder`, which is made with the first number."""
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def __call__(self, event: Event) -> None:
        """Write one event's numbers, if it has any."""
        if not isinstance(event, KernelProgress):
            return
        if event.kernel not in self._writers:
            self._writers[event.kernel] = self._open(event)
        writer = self._writers[event.kernel]
        for name, value in scalars(event).items():
            writer.add_scalar(name, value, event.step)
        if event.step >= event.num_steps:
            # Each writer has a thread and an open file; a run may have hundreds of kernels.
            self._writers.pop(event.kernel).close()

    def close(self) -> None:
        """Put everything on disk."""
        while self._writers:
            self._writers.popitem()[1].close()

    def _open(self, event: KernelProgress) -> SummaryWriter:
        # A resumed run takes its steps again: what an earlier file says of them is void.
        return SummaryWriter(
            str(self._folder / event.kernel), flush_secs=FLUSH_S, purge_step=event.step
        )
