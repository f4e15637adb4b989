"""Send events from workers to the driver: each worker appends JSON lines to its own file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.progress.events import Event, OnEvent, from_json, to_json
from training.run_files.shared_files import SHARED, RunFiles

_PATTERN = "events-*.jsonl"


@contextmanager
def event_writer(folder: Path, name: str, files: RunFiles = SHARED) -> Iterator[OnEvent]:
    """Open a worker's file and yield a function that appends an event to it.

    Args:
        folder: Folder of the run's checkpoints, which the driver reads.
        name: Name of this worker, different for all that run at the same time.
        files: Appends to files of the run's folder.
    """
    with files.appending(folder / _PATTERN.replace("*", name)) as append:

        def tell(event: Event) -> None:
            append(to_json(event).encode() + b"\n")

        yield tell


class Tail:
    """Reads events that workers append to their files after its creation."""

    def __init__(self, folder: Path) -> None:
        """Skip what the files in `folder` hold already."""
        self._folder = folder
        self._offsets = {path: path.stat().st_size for path in folder.glob(_PATTERN)}

    def read(self) -> Iterator[Event]:
        """Yield the events of all whole lines since the last call."""
        for path in sorted(self._folder.glob(_PATTERN)):
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                raw = file.read()
            whole = raw[: raw.rfind(b"\n") + 1]
            self._offsets[path] = self._offsets.get(path, 0) + len(whole)
            for line in whole.splitlines():
                yield from_json(line)
