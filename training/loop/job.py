"""Records of a training job and its result: plain values that travel as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from constellation.errors import ConfigError
from constellation.kernel.observables.phi import PhiReference
from training.guards.guard import GuardConfig
from training.guards.phase import PhaseConfig
from training.guards.probe import ProbeConfig
from training.loop.objective import ObjectiveConfig
from training.loop.step import StepConfig
from training.progress.events import Phase
from training.recipe_transfer import DistilSection


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Settings of the training of one kernel."""

    kernel: str
    """Name of the kernel."""
    stage: str
    """"seed" or "branch"."""
    step: StepConfig
    """Optimiser and number of steps."""
    bytes_per_token: float
    """Mean bytes of a training token, to report bits per byte."""
    checkpoint_every: int = 50
    """Steps between checkpoints; the last step always has one."""
    keep_last: int = 2
    """Number of checkpoints kept besides the best and the newest good one."""
    dev_windows: int = 16
    """Number of held-out windows scored at each checkpoint."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """Objective that is minimised."""
    guards: GuardConfig = field(default_factory=GuardConfig)
    """Settings of the guard."""
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    """Settings of the held-out measurements."""
    phases: PhaseConfig = field(default_factory=PhaseConfig)
    """Borders of the phases on the Phi gauge."""
    phi_reference: PhiReference | None = None
    """Reference scale of the Phi gauge; None takes the scale of the job's starting weights."""
    basin_target: tuple[float, ...] | None = None
    """Basin that training pulls to; None pulls to the basin of the text that is read."""
    distil: DistilSection | None = None
    """Teacher of soft targets; None learns from text alone."""
    coordizer_folder: str | None = None
    """Coordizer whose basins texts have; needed by `lambda_basin` without a fixed target."""

    def __post_init__(self) -> None:
        if self.guards.phi and not self.probe.gauge:
            raise ConfigError("a guard on Phi watches the gauge; set probe.gauge as well")
        if self.guards.output and not self.probe.output:
            raise ConfigError("a guard on the output needs its probe; set probe.output as well")


@dataclass(frozen=True, kw_only=True, slots=True)
class JobResult:
    """How a job ended. When it is finished, the decoder holds the best checkpoint's weights."""

    finished: bool
    """False when the job was stopped; run it again to resume."""
    steps: int
    """Number of steps taken in all."""
    dev_nats: float | None
    """Best held-out cross-entropy so far, nats per token; None before the first checkpoint."""
    best_step: int | None
    """Steps taken at the best checkpoint."""
    phase_updates: Mapping[Phase, int] = field(default_factory=dict)
    """Phase -> readings of the gauge spent in it; empty without a gauge."""
    phase_transitions: int = 0
    """Changes of phase."""
