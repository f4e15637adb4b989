"""Decide which kernel's training runs next: events in, decisions out. No clock, no Ray.

    STAGED --room--> RUNNING --> FINISHED
       ^                |------> STOPPED   (Ctrl-C, or the budget)
       |---- crash -----|------> FAILED    (it crashed too often, or cannot resume)

A kernel starts when its workers find free places and its memory fits beside that of the others: the
predicted memory until its workers have reported a settled peak, then that one. Kernels start in the
order given; a kernel that does not fit is passed by smaller ones. A kernel that crashed frees its
room and is staged again, with the memory that it was measured to take.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from constellation.errors import ConfigError, DoesNotFit
from training.progress.events import KernelStateChanged, RunState

Outcome = Literal["FINISHED", "STOPPED", "CRASHED", "FAILED"]
"""How a training ended. CRASHED may be retried; FAILED would end the same way again."""

_TERMINAL: Final = ("FINISHED", "STOPPED", "FAILED")


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """Workers and memory that the training of one kernel needs."""

    kernel: str
    workers: int
    """Number of processes that train the kernel together, >= 1."""
    memory_bytes: int
    """Predicted peak memory of all these processes."""

    def __post_init__(self) -> None:
        if self.workers < 1 or self.memory_bytes < 0:
            raise ConfigError(
                f"kernel {self.kernel!r} needs workers >= 1 and memory >= 0, got {self.workers} "
                f"and {self.memory_bytes}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """Workers and memory that all trainings together may use."""

    workers: int
    """Number of processes at one time."""
    memory_bytes: int
    max_failures: int
    """Number of crashes tolerated per kernel; with one more the kernel has failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Event: a worker of a kernel reported its peak memory."""

    kernel: str
    worker_bytes: int
    """Peak of this worker; the kernel's other workers take as much."""
    settled: bool
    """True after the first checkpoint, after which the peak does not grow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """Event: the training of a kernel has ended."""

    kernel: str
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class StopAsked:
    """Event: no further training may start, and running ones are being stopped."""

    reason: str


@dataclass(slots=True)
class _Run:
    demand: Demand
    memory_bytes: int
    state: RunState = "STAGED"
    failures: int = 0


@dataclass(slots=True)
class Schedule:
    """Decides which trainings run; the driver launches each that changes to RUNNING."""

    room: Room
    _runs: dict[str, _Run] = field(default_factory=dict)
    _stopping: bool = False

    @classmethod
    def of(cls, demands: Iterable[Demand], room: Room) -> "Schedule":
        """Make a schedule with all trainings staged.

        Raises:
            DoesNotFit: A kernel needs more memory than all of the room.
            ConfigError: A kernel needs more workers than all of the room, or comes twice.
        """
        schedule = cls(room)
        for demand in demands:
            if demand.memory_bytes > room.memory_bytes:
                raise DoesNotFit(
                    demand.kernel,
                    needed_bytes=demand.memory_bytes,
                    limit_bytes=room.memory_bytes,
                )
            if demand.workers > room.workers:
                raise ConfigError(
                    f"kernel {demand.kernel!r} wants {demand.workers} workers, and there is room "
                    f"for {room.workers}; lower workers.workers_per_kernel or raise "
                    "workers.num_workers"
                )
            if demand.kernel in schedule._runs:
                raise ConfigError(f"kernel {demand.kernel!r} is to be trained twice")
            schedule._runs[demand.kernel] = _Run(demand, demand.memory_bytes)
        return schedule

    def begin(self) -> list[KernelStateChanged]:
        """Start the trainings that fit, and give a reason for each that has to wait."""
        started = self._start_what_fits()
        waiting = [
            KernelStateChanged(kernel=name, state="STAGED", reason=self._obstacle(run))
            for name, run in self._runs.items()
            if run.state == "STAGED"
        ]
        return started + waiting

    def handle(self, event: Measured | Ended | StopAsked) -> list[KernelStateChanged]:
        """Process an event and return the state changes that follow, in order."""
        match event:
            case Measured():
                return self._measured(event)
            case Ended():
                return self._ended(event)
            case StopAsked():
                self._stopping = True
                return [
                    self._change(name, "STOPPED", event.reason)
                    for name, run in self._runs.items()
                    if run.state == "STAGED"
                ]

    def __contains__(self, kernel: str) -> bool:
        """Return whether this schedule trains a kernel."""
        return kernel in self._runs

    @property
    def done(self) -> bool:
        """Whether no training runs or will run."""
        return all(run.state in _TERMINAL for run in self._runs.values())

    def _measured(self, event: Measured) -> list[KernelStateChanged]:
        run = self._runs[event.kernel]
        seen = event.worker_bytes * run.demand.workers
        run.memory_bytes = seen if event.settled else max(run.demand.memory_bytes, seen)
        return self._start_what_fits()

    def _ended(self, event: Ended) -> list[KernelStateChanged]:
        run = self._runs[event.kernel]
        state: RunState
        if event.outcome != "CRASHED":
            state = event.outcome
        elif self._stopping:
            state = "STOPPED"  # it goes on from its checkpoint when the run is resumed
        else:
            run.failures += 1
            state = "STAGED" if run.failures <= self.room.max_failures else "FAILED"
        return [self._change(event.kernel, state, event.reason), *self._start_what_fits()]

    def _start_what_fits(self) -> list[KernelStateChanged]:
        if self._stopping:
            return []
        started = []
        for name, run in self._runs.items():
            if run.state == "STAGED" and not self._obstacle(run):
                tries = f"start {run.failures + 1} of {self.room.max_failures + 1}"
                started.append(self._change(name, "RUNNING", tries if run.failures else ""))
        return started

    def _obstacle(self, run: _Run) -> str:
        """Return the reason why a staged kernel cannot start; empty when it can."""
        running = [other for other in self._runs.values() if other.state == "RUNNING"]
        workers = self.room.workers - sum(other.demand.workers for other in running)
        memory = self.room.memory_bytes - sum(other.memory_bytes for other in running)
        if run.demand.workers > workers:
            return f"waits for {run.demand.workers} free workers, {workers} are"
        # A kernel that took more than predicted still may run alone.
        if run.memory_bytes > memory and running:
            needed, free = run.memory_bytes / 1e9, max(0, memory) / 1e9
            return f"waits for {needed:.2f} GB of memory, {free:.2f} GB are free"
        return ""

    def _change(self, kernel: str, state: RunState, reason: str) -> KernelStateChanged:
        self._runs[kernel].state = state
        return KernelStateChanged(kernel=kernel, state=state, reason=reason)
