"""Write a run's numbers as an offline Weights & Biases run, without a network.

`wandb sync RUN_FOLDER/wandb/offline-run-*` uploads it, whenever and from wherever you like.
"""

import importlib
from pathlib import Path
from typing import Any

from constellation.errors import ConfigError
from constellation.extras import how_to_install
from training.progress.events import Event, KernelProgress
from training.trackers.scalars import scalars


class WandbRun:
    """Logs the numbers of every kernel's progress to an offline run."""

    def __init__(self, folder: Path, *, project: str, name: str) -> None:
        """Prepare a run below `folder/wandb`; it is started by the first number.

        Raises:
            ConfigError: The package is not installed.
        """
        try:
            self._wandb: Any = importlib.import_module("wandb")
        except ImportError as error:
            raise ConfigError(
                "tracking.wandb_project needs the package wandb; remove the key, or install it "
                f"{how_to_install('wandb')}"
            ) from error
        self._folder = folder
        self._project = project
        self._name = name
        self._run: Any = None
        self._kernels: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Log one event's numbers, if it has any."""
        if not isinstance(event, KernelProgress):
            return
        if self._run is None:
            self._run = self._open()
        # Kernels train side by side, each with steps of its own: a step is a number like others.
        self._define_axis(event.kernel)
        numbers = {f"{event.kernel}/{name}": value for name, value in scalars(event).items()}
        self._run.log({f"{event.kernel}/step": event.step, **numbers})

    def close(self) -> None:
        """End the run and put everything on disk."""
        if self._run is not None:
            self._run.finish()
            # Its service goes on writing the file after `finish`; this waits for it to end.
            self._wandb.teardown()
            self._run = None

    def _define_axis(self, kernel: str) -> None:
        if kernel not in self._kernels:
            self._kernels.add(kernel)
            self._run.define_metric(f"{kernel}/*", step_metric=f"{kernel}/step")

    def _open(self) -> Any:
        settings = self._wandb.Settings(
            console="off", silent=True, x_disable_stats=True, x_disable_meta=True
        )
        return self._wandb.init(
            project=self._project,
            name=self._name,
            dir=str(self._folder),
            mode="offline",
            reinit="create_new",
            settings=settings,
        )
