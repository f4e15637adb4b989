"""Run trainings to their end: launch those that the schedule starts, and pass their events on.

A thread waits in each training; the driver's thread reads the workers' event files, passes them to
the schedule, and turns Ctrl-C into a clean stop. Knows nothing of Ray: it is given how to launch a
training and how to check that trainings can continue.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import Final

from constellation.errors import ConstellationError, TrainingError
from training.progress.events import KernelProgress, KernelStateChanged, OnEvent
from training.runs.event_files import Tail
from training.runs.failures import read_failure
from training.runs.interrupts import ctrl_c_noted
from training.runs.schedule import Demand, Ended, Measured, Outcome, Room, Schedule, StopAsked
from training.runs.training_plan import TrainingPlan
from training.runs.worker import is_finished

POLL_S: Final = 0.25
"""Seconds between two reads of the workers' events."""

Launch = Callable[[str], None]
"""Function that runs a training and returns when it is finished or was stopped; raises
TrainingError when it crashed."""


def drive(
    plan: TrainingPlan,
    demands: Iterable[Demand],
    room: Room,
    launch: Launch,
    on_event: OnEvent,
    *,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Run trainings until all are finished, stopped or failed.

    Stopping is asked for by `plan.stop_file`, which Ctrl-C makes: workers write a checkpoint and
    end, and what is staged does not start. After that the result is not complete.

    Args:
        plan: Plan of the run that the trainings belong to.
        demands: Trainings to run, with their needs.
        room: Workers and memory that all trainings together may use.
        launch: Called in a thread of its own per training.
        on_event: Called in this thread with all events of workers and changes of state.
        check: Called at every poll; raises when the trainings cannot continue.

    Raises:
        DoesNotFit: A training needs more than the whole room.
        TrainingError: Some trainings failed; the others were trained to the end.
        KeyboardInterrupt: Ctrl-C was pressed; checkpoints are written. A second one does not wait.
    """
    demands = list(demands)
    schedule = Schedule.of(demands, room)
    plan.checkpoints.mkdir(parents=True, exist_ok=True)
    # Threads of this pool never keep the process from ending, should Ray never return.
    pool = ThreadPool(max(1, len(demands)))
    try:
        with ctrl_c_noted() as pressed:
            driver = _Driver(plan, schedule, lambda run: pool.apply_async(launch, (run,)), on_event)
            driver.run(pressed, check)
    finally:
        if not schedule.done:
            # Somebody raised: what may still run somewhere must not go on unseen.
            plan.stop_file.touch()
        pool.terminate()
    driver.raise_failures()
    if pressed.is_set():
        raise KeyboardInterrupt


class _Driver:
    """State of one schedule that is being carried out."""

    def __init__(
        self,
        plan: TrainingPlan,
        schedule: Schedule,
        submit: Callable[[str], "AsyncResult[None]"],
        on_event: OnEvent,
    ) -> None:
        self._plan = plan
        self._schedule = schedule
        self._submit = submit
        self._on_event = on_event
        self._tail = Tail(plan.checkpoints)
        self._running: dict[str, AsyncResult[None]] = {}
        self._causes: dict[str, ConstellationError] = {}
        self._failures: dict[str, ConstellationError] = {}
        self._begun: set[str] = set()

    def run(self, pressed: threading.Event, check: Callable[[], None]) -> None:
        """Carry out the schedule until it is done."""
        stopping = False
        self._obey(self._schedule.begin())
        while not self._schedule.done:
            self._wait()
            ended = [name for name, result in self._running.items() if result.ready()]
            self._read_events()
            for name in ended:
                self._obey(self._schedule.handle(self._judge(name, self._running.pop(name))))
            if pressed.is_set():
                self._plan.stop_file.touch()
            if not stopping and self._plan.stop_file.exists():
                stopping = True
                self._obey(self._schedule.handle(StopAsked(reason="stopped before it started")))
            check()

    def raise_failures(self) -> None:
        """Raise the errors of the trainings that failed."""
        if len(self._failures) == 1:
            raise next(iter(self._failures.values()))
        if self._failures:
            failures = "; ".join(f"{name}: {error}" for name, error in self._failures.items())
            raise TrainingError(f"{len(self._failures)} kernels failed: {failures}")

    def _wait(self) -> None:
        """Wait until the next poll, or until the oldest training ends."""
        oldest = next(iter(self._running.values()), None)
        if oldest is not None:
            oldest.wait(POLL_S)

    def _read_events(self) -> None:
        for event in self._tail.read():
            self._on_event(event)
            if isinstance(event, KernelProgress):
                self._begun.add(event.kernel)
            if isinstance(event, KernelProgress) and event.kernel in self._schedule:
                measured = Measured(
                    kernel=event.kernel,
                    worker_bytes=event.memory_bytes,
                    settled=event.dev_bits_per_byte is not None,
                )
                self._obey(self._schedule.handle(measured))

    def _judge(self, name: str, result: "AsyncResult[None]") -> Ended:
        """Return how a training ended, and store the error of one that failed."""
        crash: ConstellationError | None = None
        try:
            result.get()
        except TrainingError as error:
            crash = error
        given_up = read_failure(self._plan.failure_file(name))
        if given_up is None and crash is None:
            done = all(is_finished(self._plan, kernel) for kernel in self._plan.trained_by(name))
            return Ended(kernel=name, outcome="FINISHED" if done else "STOPPED")
        outcome: Outcome = "CRASHED" if given_up is None else "FAILED"
        cause = given_up or crash
        assert cause is not None
        self._causes[name] = cause
        return Ended(kernel=name, outcome=outcome, reason=str(cause))

    def _obey(self, changes: Iterable[KernelStateChanged]) -> None:
        for change in changes:
            if change.kernel in self._plan.names:
                self._on_event(change)
            elif change.state == "FAILED":
                self._report_failed(change)
            if change.state == "FAILED":
                self._failures[change.kernel] = self._causes[change.kernel]
            elif change.state == "RUNNING":
                self._plan.failure_file(change.kernel).unlink(missing_ok=True)
                self._running[change.kernel] = self._submit(change.kernel)

    def _report_failed(self, change: KernelStateChanged) -> None:
        """Report the failure of a training of several kernels for each one that had begun."""
        for kernel in self._plan.trained_by(change.kernel):
            if kernel in self._begun and not is_finished(self._plan, kernel):
                self._on_event(replace(change, kernel=kernel))
