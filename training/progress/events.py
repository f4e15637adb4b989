"""Events of a training run: plain records, sent from workers as JSON lines."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from constellation.errors import TrainingError

GuardState = Literal["HEALTHY", "WARN", "PAUSED", "RECOVERING"]
Phase = Literal["FOAM", "TACKING", "CRYSTAL", "FRACTURE"]
RunState = Literal["STAGED", "RUNNING", "STOPPED", "FAILED", "FINISHED"]


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelProgress:
    """Progress report of one kernel's training."""

    kernel: str
    """Name of the kernel; "seed" for the shared start."""
    stage: str
    """"seed" or "branch"."""
    step: int
    """Steps taken, from 1."""
    num_steps: int
    loss_bits: float
    """Cross-entropy of the last batch, bits per token."""
    bits_per_byte: float
    """Cross-entropy of the last batch in bits per byte of text; lower is better."""
    tokens_per_second: float
    """Speed over all workers of this kernel, since its training started or resumed."""
    eta_s: float
    """Seconds until this kernel is finished, at the present speed."""
    gradient_norm: float
    """Norm of the gradient before clipping."""
    learning_rate: float = 0.0
    """Learning rate of this step."""
    tokens: int = 0
    """Training tokens read in all, over all workers and resumed runs."""
    memory_bytes: int = 0
    """Peak resident memory of the process that trains it."""
    dev_bits_per_byte: float | None = None
    """Held-out bits per byte at the last checkpoint; None before the first."""
    terms: Mapping[str, float] = field(default_factory=dict)
    """Name of an extra term of the objective -> its last value, unweighted."""
    phi: float | None = None
    """Integration at the last checkpoint, in [0, 1)."""
    phi_gauge: float | None = None
    """Phi on the scale of the reference checkpoint, in [0, 1]."""
    kappa: float | None = None
    """Mean learned coupling; None for attention kind `dot`."""
    basin_distance: float | None = None
    """Mean distance of the basin head to its targets at the last checkpoint, radians."""
    depth: float | None = None
    """Mean passes of the recursive integrator at the last checkpoint."""
    phase: Phase | None = None
    guard: GuardState = "HEALTHY"


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardChanged:
    """A guard moved from one state to another."""

    kernel: str
    step: int
    before: GuardState
    after: GuardState
    cause: str
    """Name of the watch that caused the change, in words."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Measured values and their limits that caused the change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseChanged:
    """A kernel's phase changed."""

    kernel: str
    step: int
    before: Phase | None
    after: Phase
    phi_gauge: float


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelStateChanged:
    """A kernel's run was staged, started, stopped, failed or finished."""

    kernel: str
    state: RunState
    reason: str = ""
    """Reason of the change, in words for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetWarning:
    """A budget is nearly used up, or used up: then the run stops cleanly."""

    budget: Literal["tokens", "minutes", "cost"]
    used: float
    limit: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """A message to people that does not stop the run."""

    text: str
    """One sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusRead:
    """The text was read: how much of it, what was skipped, and why."""

    lines: Sequence[str]
    """A few lines for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartStarted:
    """A part of the run begins."""

    part: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartFinished:
    """A part of the run is done."""

    part: str
    seconds: float
    skipped: bool
    """True when its result of an earlier run was still valid."""
    detail: str = ""


Event = (
    KernelProgress
    | GuardChanged
    | PhaseChanged
    | KernelStateChanged
    | BudgetWarning
    | Notice
    | CorpusRead
    | PartStarted
    | PartFinished
)
OnEvent = Callable[[Event], None]

_KINDS: Final = {kind.__name__: kind for kind in Event.__args__}


def ignore(event: Event) -> None:
    """Accept an event and do nothing."""


def to_json(event: Event) -> str:
    """Return one line of JSON, its `event` key naming the kind."""
    return json.dumps({"event": type(event).__name__, **asdict(event)})


def from_json(line: str | bytes) -> Event:
    """Return the event of a line that `to_json` wrote.

    Raises:
        TrainingError: The line is damaged, or of another version.
    """
    try:
        values: dict[str, Any] = json.loads(line)
        kind = _KINDS[values.pop("event")]
        event: Event = kind(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"not an event of this version: {line[:80]!r}: {error}") from error
    return event
