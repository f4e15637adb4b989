"""How much memory the processes of `benchmarks.chaos` take as time goes on."""

import statistics
import threading
import time
from dataclasses import dataclass, field

import psutil

_INTERVAL_S = 2.0

EARLY = (0.2, 0.4)
"""The part of the run that is compared with: minutes 3 and 4 of ten."""
LATE = (0.8, 1.0)
"""The part that is compared: the last two minutes of ten."""


@dataclass
class Memory:
    """Notes the proportional memory (PSS) of a process and its descendants every two seconds."""

    launcher: int
    samples: dict[tuple[int, float], list[tuple[float, int]]] = field(default_factory=dict)
    """Process (id and start) -> seconds since the start of the run, and bytes."""
    names: dict[tuple[int, float], str] = field(default_factory=dict)

    def __enter__(self) -> "Memory":
        self._stop = threading.Event()
        self._started_s = time.monotonic()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._started_s
        self._stop.set()
        self._thread.join()

    def growth(self) -> dict[str, float]:
        """Return name -> median of the late part over that of the early one, of all that live."""
        early, late = (self._medians(part) for part in (EARLY, LATE))
        return {self.names[process]: late[process] / early[process] for process in early & late}

    def _medians(self, part: tuple[float, float]) -> "_Medians":
        first_s, last_s = (share * self.seconds for share in part)
        return _Medians(
            {
                process: statistics.median(values)
                for process, samples in self.samples.items()
                if len(values := [size for at, size in samples if first_s <= at <= last_s]) > 1
            }
        )

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            root = psutil.Process(self.launcher)
            for process in (root, *root.children(recursive=True)):
                try:
                    key = (process.pid, process.create_time())
                    size = process.memory_full_info().pss
                    self.names.setdefault(key, f"{_name(process)} {process.pid}")
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue  # it ended
                at_s = time.monotonic() - self._started_s
                self.samples.setdefault(key, []).append((at_s, size))


class _Medians(dict[tuple[int, float], float]):
    def __and__(self, other: "_Medians") -> list[tuple[int, float]]:
        return [process for process in self if process in other]


def _name(process: psutil.Process) -> str:
    """Return what Ray calls the actor of a process, or the program's name."""
    command = process.cmdline()
    return str(command[0].split("/")[-1] if command else process.name())
