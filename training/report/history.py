"""Read the course of a run from its `metrics.jsonl`: curves per kernel, and changes."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from constellation.errors import ArtifactError, TrainingError
from training.progress.events import (
    BudgetWarning,
    Event,
    GuardChanged,
    KernelProgress,
    KernelStateChanged,
    PhaseChanged,
    from_json,
)

METRICS = "metrics.jsonl"

Point = tuple[int, float]
"""A training step and a value."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Progress reports of one kernel, at most one per step, by rising step."""

    kernel: str
    reports: tuple[KernelProgress, ...]

    def train(self) -> list[Point]:
        """Return the training loss, bits per byte."""
        return self._points(lambda report: report.bits_per_byte)

    def held_out(self) -> list[Point]:
        """Return the held-out loss at every checkpoint, bits per byte."""
        return _changes(self._points(lambda report: report.dev_bits_per_byte))

    def basin_distance(self) -> list[Point]:
        """Return the distance of the basin head to its targets at every probe, radians."""
        return _changes(self._points(lambda report: report.basin_distance))

    def depth(self) -> list[Point]:
        """Return the mean passes of the recursive integrator at every probe."""
        return _changes(self._points(lambda report: report.depth))

    def gauge(self) -> list[Point]:
        """Return the Phi gauge at every probe, in [0, 1]."""
        return _changes(self._points(lambda report: report.phi_gauge))

    def phase_shares(self) -> dict[str, float]:
        """Return phase -> share of the reported steps spent in it; empty without phases."""
        steps: dict[str, float] = {}
        before = 0
        for report in self.reports:
            if report.phase is not None:
                steps[report.phase] = steps.get(report.phase, 0) + report.step - before
            before = report.step
        total = sum(steps.values())
        return {phase: count / total for phase, count in steps.items()} if total else {}

    def _points(self, value: Callable[[KernelProgress], float | None]) -> list[Point]:
        found = ((report.step, value(report)) for report in self.reports)
        return [(step, y) for step, y in found if y is not None and math.isfinite(y)]


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """All events of a run, by kind."""

    curves: dict[str, Curve]
    """Kernel -> its curve, in the order in which kernels first appeared."""
    guards: tuple[GuardChanged, ...] = ()
    phases: tuple[PhaseChanged, ...] = ()
    states: tuple[KernelStateChanged, ...] = ()
    budgets: tuple[BudgetWarning, ...] = ()


def read_history(folder: Path) -> History | None:
    """Return the history of a run's folder; None when the folder has no log.

    Raises:
        ArtifactError: The log is damaged. An unfinished last line, which a killed run leaves, is
            passed over.
    """
    path = folder / METRICS
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError(path, f"cannot be read: {error.strerror}") from error
    whole = raw[: raw.rfind(b"\n") + 1]
    events = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            events.append(from_json(line))
        except TrainingError as error:
            raise ArtifactError(path, f"line {number} is damaged: {error}") from error
    return fold(events)


def fold(events: Iterable[Event]) -> History:
    """Return the history that a sequence of events makes.

    A kernel whose run was resumed, rolled back or restarted repeats steps: earlier reports of the
    repeated steps are dropped.
    """
    reports: dict[str, list[KernelProgress]] = {}
    others: list[Event] = []
    for event in events:
        if not isinstance(event, KernelProgress):
            others.append(event)
            continue
        known = reports.setdefault(event.kernel, [])
        while known and known[-1].step >= event.step:
            known.pop()
        known.append(event)
    return History(
        curves={name: Curve(name, tuple(known)) for name, known in reports.items()},
        guards=tuple(event for event in others if isinstance(event, GuardChanged)),
        phases=tuple(event for event in others if isinstance(event, PhaseChanged)),
        states=tuple(event for event in others if isinstance(event, KernelStateChanged)),
        budgets=tuple(event for event in others if isinstance(event, BudgetWarning)),
    )


def _changes(points: Sequence[Point]) -> list[Point]:
    """Return only the points at which the value changes, since reports repeat a value."""
    kept: list[Point] = []
    for step, value in points:
        if not kept or value != kept[-1][1]:
            kept.append((step, value))
    return kept
