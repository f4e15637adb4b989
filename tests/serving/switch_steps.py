"""The steps of a change as they can be seen from outside: by the files that each step leaves.

Nothing in production code says where it is, so a test that kills somebody at a step looks for the
step's trace some thousand times a second.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from actors.run_folder import last_table
from constellation.releases.store import ReleaseStore

MAKING: Final = ("make", "write", "written")
"""Steps of a change that makes a release: its process starts, files come, the manifest is there."""

SWITCHING: Final = ("fetch", "load", "switch", "take", "place", "publish")
"""Steps of every switch: the folder of the release, a process for a kernel that joins, the pointer,
weights in a process, the placement, and the table of the routers."""

LOOK_S = 0.0005
SEEN_WITHIN_S = 60.0


class Steps:
    """Says which steps of a change have begun since this was made.

    Args:
        artifacts: Folder of the store.
        run_dir: Of the constellation.
        launcher: Process id from which all others descend.
        reloading: Member with a kernel that takes other weights.
        release: Number of the release that is switched to; None means the one that is made.
    """

    def __init__(
        self, artifacts: Path, run_dir: Path, launcher: int, reloading: str, release: int | None
    ) -> None:
        store = ReleaseStore(artifacts)
        self._artifacts, self._run_dir, self._launcher = artifacts, run_dir, launcher
        self._release = release or max(store.versions()) + 1
        self._log = run_dir / "logs" / f"{reloading}.jsonl"
        self._num_reloaded = self._reloaded()
        self._blobs = self._files()

    def has_begun(self, step: str) -> bool:
        """Return whether there is a trace of a step."""
        with suppress(OSError, ValueError):  # a file is not there yet
            return bool(getattr(self, f"_{step}")())
        return False

    def wait_for(self, step: str, *, until: Callable[[], bool]) -> bool:
        """Wait for a step; say whether it was seen before `until` is true."""
        pause, deadline_s = threading.Event(), time.monotonic() + SEEN_WITHIN_S
        while not self.has_begun(step):
            if until() or time.monotonic() > deadline_s:
                return self.has_begun(step)
            pause.wait(LOOK_S)
        return True

    def process(self, title: str) -> int | None:
        """Return the process id of an actor by the name of its class."""
        for each in psutil.Process(self._launcher).children(recursive=True):
            with suppress(psutil.Error, IndexError):
                if each.cmdline()[0].startswith(f"ray::{title}"):
                    return int(each.pid)
        return None

    def _make(self) -> bool:
        return self.process("ReleaseMaker") is not None

    def _write(self) -> bool:
        return self._files() != self._blobs

    def _written(self) -> bool:
        return (self._artifacts / "releases" / f"{self._release}.msgpack").exists()

    def _fetch(self) -> bool:
        folder = self._artifacts / "releases"
        begun = folder.glob(f".{self._release}-*")
        return next(begun, None) is not None or (folder / str(self._release)).is_dir()

    def _load(self) -> bool:
        return bool(self._placed()["ahead"])

    def _switch(self) -> bool:
        return ReleaseStore(self._artifacts).current() == self._release

    def _take(self) -> bool:
        return self._reloaded() > self._num_reloaded

    def _place(self) -> bool:
        return bool(self._placed()["release"] == self._release)

    def _publish(self) -> bool:
        table = last_table(self._run_dir / "table.msgpack")
        return table is not None and table.release == self._release

    def _placed(self) -> dict[str, object]:
        placed: dict[str, object] = json.loads((self._run_dir / "placement.json").read_text())
        return placed

    def _files(self) -> set[str]:
        return {path.name for path in (self._artifacts / "blobs" / "sha256").iterdir()}

    def _reloaded(self) -> int:
        return self._log.read_text(encoding="utf-8").count('"kernel reloaded"')
