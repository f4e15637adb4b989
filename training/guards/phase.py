"""Map a kernel's Phi gauge to phases (FOAM to FRACTURE), with hysteresis and a least stay. Pure.

FOAM, TACKING, CRYSTAL and FRACTURE are names of bands of one statistic on the scale of a reference
checkpoint, nothing more.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from constellation.errors import ConfigError
from training.progress.events import Phase, PhaseChanged

PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
"""Names of the phases, from the lowest gauge to the highest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseConfig:
    """Borders between the phases, and how much is needed to leave one."""

    tacking_from: float = 0.70
    """Gauge at which FOAM ends."""
    crystal_from: float = 0.75
    """Gauge at which TACKING ends."""
    fracture_from: float = 0.85
    """Gauge above which CRYSTAL ends."""
    hysteresis: float = 0.02
    """A phase is left only when the gauge is this far beyond the phase's border."""
    dwell: int = 10
    """Least number of gauge readings for which a phase is kept."""

    def __post_init__(self) -> None:
        borders = (0.0, *self.borders, 1.0)
        if not all(low < high for low, high in itertools.pairwise(borders)):
            raise ConfigError(f"phases need rising borders in (0, 1), got {self.borders}")
        if self.dwell < 1 or not 0 <= self.hysteresis < 0.5:
            raise ConfigError(
                "phases need dwell >= 1 and hysteresis in [0, 0.5), got "
                f"{self.dwell} and {self.hysteresis}"
            )

    @property
    def borders(self) -> tuple[float, float, float]:
        """The three borders between the four phases, rising."""
        return (self.tacking_from, self.crystal_from, self.fracture_from)


def phase_of(gauge: float, config: PhaseConfig, *, held: Phase | None = None) -> Phase:
    """Return the phase of one gauge reading.

    Args:
        gauge: In [0, 1]. The last border itself still belongs to CRYSTAL, the others to the phase
            above them.
        config: Borders and hysteresis.
        held: The present phase: borders above it move up by the hysteresis, those below it down.
            None applies no hysteresis.
    """
    place = None if held is None else PHASES.index(held)
    reached = 0
    for index, border in enumerate(config.borders):
        shift = 0.0
        if place is not None:
            shift = config.hysteresis if index >= place else -config.hysteresis
        passed = gauge > border + shift if index == 2 else gauge >= border + shift
        reached = index + 1 if passed else reached
    return PHASES[reached]


@dataclass(slots=True)
class PhaseTracker:
    """Tracks one kernel's phase over its gauge readings."""

    kernel: str
    config: PhaseConfig = field(default_factory=PhaseConfig)
    phase: Phase | None = None
    """Present phase; None before the first reading."""
    updates: dict[Phase, int] = field(default_factory=dict)
    """Phase -> readings spent in it."""
    transitions: int = 0
    """Number of changes so far, the first reading not counted."""
    _held: int = 0

    def observe(self, *, step: int, gauge: float) -> PhaseChanged | None:
        """Record a reading of the gauge, in [0, 1], and return the change of phase, or None."""
        before = self.phase
        wanted = phase_of(gauge, self.config, held=before)
        if before is None or (wanted != before and self._held >= self.config.dwell):
            self.phase, self._held = wanted, 0
            self.transitions += before is not None
        assert self.phase is not None
        self._held += 1
        self.updates[self.phase] = self.updates.get(self.phase, 0) + 1
        if self.phase == before:
            return None
        return PhaseChanged(
            kernel=self.kernel, step=step, before=before, after=self.phase, phi_gauge=gauge
        )

    def state(self) -> dict[str, Any]:
        """Return everything that later readings depend on, as JSON values."""
        return {
            "phase": self.phase,
            "updates": dict(self.updates),
            "transitions": self.transitions,
            "held": self._held,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a value that `state` returned."""
        self.phase = state["phase"]
        self.updates = dict(state["updates"])
        self.transitions = state["transitions"]
        self._held = state["held"]
