"""Open the trackers that a recipe asks for, and close them in any case."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from training.progress.events import Event, OnEvent
from training.recipe_running import TrackingSection
from training.trackers.tensorboard import TensorBoardFiles
from training.trackers.wandb import WandbRun


@contextmanager
def open_trackers(section: TrackingSection, folder: Path, *, name: str) -> Iterator[OnEvent]:
    """Yield a function that hands an event to every tracker.

    Raises:
        ConfigError: A tracker's package is not installed.
    """
    trackers: list[TensorBoardFiles | WandbRun] = []
    if section.tensorboard:
        trackers.append(TensorBoardFiles(folder / "tensorboard"))
    if section.wandb_project is not None:
        trackers.append(WandbRun(folder, project=section.wandb_project, name=name))

    def tell(event: Event) -> None:
        for tracker in trackers:
            tracker(event)

    with ExitStack() as stack:
        for tracker in trackers:
            stack.callback(tracker.close)
        yield tell
