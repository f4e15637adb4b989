"""Keep the latest state of every kernel of a run, folded from its events. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args

from training.progress.events import (
    BudgetWarning,
    Event,
    KernelProgress,
    KernelStateChanged,
    PartFinished,
    PartStarted,
    RunState,
)


@dataclass(slots=True)
class KernelRow:
    """Latest state and progress of one kernel."""

    kernel: str
    state: RunState
    reason: str = ""
    """Reason for the state, in words; often empty."""
    progress: KernelProgress | None = None
    """Latest progress; None before the kernel's first step."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        known = {} if self.progress is None else asdict(self.progress)
        return {**known, "kernel": self.kernel, "state": self.state, "reason": self.reason}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "KernelRow":
        """Build a row from `to_dict`'s values.

        Raises:
            KeyError, TypeError, ValueError: The values are of another version.
        """
        state: RunState = values["state"]
        if state not in get_args(RunState):
            raise ValueError(f"no state is named {state!r}")
        wanted = {each.name for each in fields(KernelProgress)}
        known = {name: value for name, value in values.items() if name in wanted}
        progress = KernelProgress(**known) if "step" in known else None
        return cls(values["kernel"], state, values["reason"], progress)


@dataclass(slots=True)
class Board:
    """State of a run after the events it was given."""

    part: str = ""
    """Name of the running part; empty between parts."""
    kernels: dict[str, KernelRow] = field(default_factory=dict)
    """Name -> row, in the order in which kernels first appeared."""
    budgets: dict[str, BudgetWarning] = field(default_factory=dict)
    """Budget -> its latest warning."""

    def take(self, event: Event) -> None:
        """Update the state by one event."""
        if isinstance(event, KernelProgress):
            self._progress(event)
        elif isinstance(event, KernelStateChanged):
            row = self.kernels.setdefault(event.kernel, KernelRow(event.kernel, event.state))
            row.state, row.reason = event.state, event.reason
        elif isinstance(event, BudgetWarning):
            self.budgets[event.budget] = event
        elif isinstance(event, PartStarted | PartFinished):
            self.part = event.part if isinstance(event, PartStarted) else ""

    def _progress(self, event: KernelProgress) -> None:
        # Who takes steps runs; a run without a scheduler says nothing else of its kernels.
        state: RunState = "FINISHED" if event.step >= event.num_steps else "RUNNING"
        row = self.kernels.setdefault(event.kernel, KernelRow(event.kernel, state))
        if row.state != state:
            row.state, row.reason = state, ""
        row.progress = event

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "part": self.part,
            "kernels": {name: row.to_dict() for name, row in self.kernels.items()},
            "budgets": {name: asdict(warning) for name, warning in self.budgets.items()},
        }
