"""The recipe section that sets what is watched while training runs."""

from pydantic import Field, model_validator

from training.recipe_running import Section, Share


class GuardLimits(Section):
    """From which losses on a run goes back, and how it recovers."""

    enabled: bool = Field(
        default=True,
        description="Go back to the last good checkpoint after loss spikes or numbers that are "
        "not finite.",
    )
    loss_scales: float = Field(
        default=8.0, gt=0, description="Robust deviations above the median loss that are a spike."
    )
    loss_share: float = Field(
        default=0.25, gt=0, description="A spike is at least this share above the median, too."
    )
    confirm: int = Field(default=3, ge=1, description="Faults in a row that send a run back.")
    tries_max: int = Field(
        default=3, ge=0, description="Times to go back without progress before giving up."
    )
    rate_share: float = Field(
        default=0.5, gt=0, le=1, description="Share of the learning rate a recovery starts at."
    )
    recover_steps: int = Field(
        default=50, ge=1, description="Steps over which the learning rate grows back."
    )


class GuardsSection(GuardLimits):
    """What is watched while training runs, and what is done about it."""

    probe_every_steps: int | None = Field(
        default=None,
        ge=1,
        description="Steps between probes of held-out text; left out: with every checkpoint.",
    )
    probe_windows: int = Field(default=4, ge=1, description="Held-out windows a probe reads.")
    watch_output: bool = Field(
        default=False, description="Probe entropy and repetition of the output; act on a collapse."
    )
    measure_phi: bool = Field(
        default=False,
        description="Probe Phi, and for branches its gauge on the scale of the seed and the "
        "phase; needs a context of 256 or more.",
    )
    watch_phi: bool = Field(
        default=False,
        description="Act on the gauge of branches: go back after a collapse, warm the learning "
        "rate up again in FRACTURE; needs measure_phi.",
    )
    phi_low: float = Field(
        default=0.65, ge=0, le=1, description="Gauge below which integration has collapsed."
    )
    phi_high: float = Field(
        default=0.85, ge=0, le=1, description="Gauge above which a renewal is due."
    )
    patience: int = Field(
        default=10, ge=1, description="Probes in a row that confirm a collapse or a FRACTURE."
    )
    phase_borders: tuple[Share, Share, Share] = Field(
        default=(0.70, 0.75, 0.85),
        description="Gauges at which TACKING, CRYSTAL and FRACTURE begin.",
    )
    phase_hysteresis: float = Field(
        default=0.02, ge=0, lt=0.5, description="How far past a border a phase changes."
    )
    phase_dwell: int = Field(default=10, ge=1, description="Probes that a phase lasts at least.")

    @model_validator(mode="after")
    def _check(self) -> "GuardsSection":
        if self.watch_phi and not self.measure_phi:
            raise ValueError("watch_phi acts on what measure_phi measures; set that as well")
        if not self.phi_low < self.phi_high:
            raise ValueError(f"need phi_low < phi_high, got {self.phi_low} and {self.phi_high}")
        if list(self.phase_borders) != sorted(set(self.phase_borders)):
            raise ValueError(f"phase_borders must rise, got {self.phase_borders}")
        return self
