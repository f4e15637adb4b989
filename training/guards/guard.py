"""Decide after each training step whether to go on, roll back or stop: a pure state machine.

    HEALTHY --suspicion--> WARN --confirmed--> PAUSED --rolled back--> RECOVERING --calm--> HEALTHY
                             +-----calm-----> HEALTHY          (renewal: straight to RECOVERING)

* A loss or gradient that is not finite: the stepper skips the step, which counts as a fault. A loss
  far above its running median is a fault too. `confirm` consecutive faults pause the run.
* A loss whose level has risen for `rise_steps` pauses the run as well: a kernel that has fallen
  back to its starting loss may be stable there, without any single spike.
* A gradient norm far above its own past only warns: clipping bounds what it can do.
* Output collapse (predictions far more certain than correct, or one likeliest token everywhere) and
  Phi collapse pause the run when they last for `patience` probes.
* FRACTURE (gauge above `phi_high`) lowers the learning rate and warms it up again: a renewal.

After a pause the run is rolled back to its last good checkpoint, continues with batches it has not
read, and starts at a share of the scheduled rate that grows back over `recover_steps`. From the
second try on it grows back to less than the scheduled rate. When `tries_max` tries brought no new
good checkpoint, the run is ended.

All facts are the same on every worker, so all guards of one kernel decide alike.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from training.guards.probe import Probed
from training.guards.watches import PatienceWatch, Reading, RiseWatch, SpikeWatch
from training.progress.events import GuardChanged, GuardState
from training.recipe_guards import GuardLimits

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Action = Literal["continue", "roll_back", "give_up"]


class GuardConfig(GuardLimits):
    """Limits of a guard and how it reacts when they are exceeded."""

    window: Count = 64
    """Number of steps from which the running median and scale are computed."""
    least: Count = 16
    """Number of steps before spikes are looked for."""
    rise_scales: Positive = 4.0
    """A risen level is this many robust standard deviations above the earlier median loss."""
    rise_share: Positive = 0.15
    """A risen level is also at least this share of the earlier median above it."""
    rise_steps: Count = 8
    """Number of latest steps whose median is the present level."""
    gradient_scales: Positive = 20.0
    """Like `loss_scales`, for the gradient norm."""
    gradient_share: Positive = 4.0
    """Like `loss_share`, for the gradient norm."""
    calm_steps: Count = 10
    """Number of steps without a fault that end a warning."""
    output: bool = False
    """Whether entropy and repetition of the output are watched at every probe."""
    entropy_share: float = 0.25
    """Output entropy over held-out cross-entropy below which the output has collapsed; a calibrated
    kernel has 1."""
    repetition_max: float = 0.9
    """Share of positions with one and the same likeliest token above which the output has
    collapsed."""
    phi: bool = False
    """Whether the Phi gauge is watched at every probe."""
    phi_low: float = Field(default=0.65, ge=0)
    """Phi gauge below which integration has collapsed."""
    phi_high: float = Field(default=0.85, le=1)
    """Phi gauge above which a renewal is due."""
    patience: Count = 10
    """Number of consecutive probes that confirm a collapse or a fracture."""
    renewals_max: int = Field(default=3, ge=0)
    """Largest number of renewals in one run; later fractures are only shown as a phase."""

    @model_validator(mode="after")
    def _check(self) -> "GuardConfig":
        if self.least > self.window or not self.phi_low < self.phi_high:
            raise ValueError(
                "guards need least <= window and phi_low < phi_high, got "
                f"{self.least}, {self.window}, {self.phi_low} and {self.phi_high}"
            )
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Values measured by one training step, from which the guard decides."""

    step: int
    """Number of steps taken, including this one."""
    loss_nats: float
    gradient_norm: float
    taken: bool
    """False when loss or gradient were not finite and the weights stayed as they were."""
    probed: Probed | None = None
    """Held-out observations; None when no probe followed this step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What the training loop must do now, and the state changes that led to it."""

    action: Action = "continue"
    changes: tuple[GuardChanged, ...] = ()
    cause: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Alarm:
    """One watch's finding about one step."""

    cause: str
    numbers: Mapping[str, float]
    confirmed: bool = False
    renewal: bool = False


class Guard:
    """Watches one kernel's training and decides after every step."""

    def __init__(self, kernel: str, config: GuardConfig) -> None:
        """Start in the healthy state, without any history."""
        self.current: GuardState = "HEALTHY"
        self._kernel = kernel
        self._config = config
        self._faults = self._quiet = self._tries = self._renewals = 0
        self._ceiling = 1.0
        self._since_step = 0
        self._good_nats: float | None = None
        c = config
        self._spike = SpikeWatch("loss", c.loss_scales, c.loss_share, c.window, c.least)
        self._rise = RiseWatch(
            "loss_level", c.rise_scales, c.rise_share, c.rise_steps, c.window, c.least
        )
        self._gradient = SpikeWatch(
            "gradient_norm", c.gradient_scales, c.gradient_share, c.window, c.least
        )
        self._lasting = {
            "entropy": PatienceWatch("output_entropy_nats", 0.0, "below", c.patience),
            "repetition": PatienceWatch("repetition", c.repetition_max, "above", c.patience),
            "collapse": PatienceWatch("phi_gauge", c.phi_low, "below", c.patience),
            "fracture": PatienceWatch("phi_gauge", c.phi_high, "above", c.patience),
        }

    def rate_factor(self, step: int) -> float:
        """Return the factor on the learning rate of a step, from 0; 1 in an undisturbed run."""
        if self.current != "RECOVERING":
            return self._ceiling
        done = min(1.0, max(0, step - self._since_step) / self._config.recover_steps)
        share = self._config.rate_share + (1 - self._config.rate_share) * done
        return self._ceiling * share

    def observe(self, facts: Facts) -> Decision:
        """Record a step's facts and decide what to do.

        Returns:
            `roll_back`: restore a good checkpoint, then call `rolled_back`. `give_up`: end the run,
            since the tries are used up.
        """
        if not self._config.enabled:
            return Decision()
        alarms = [*self._fault_alarms(facts), *self._probe_alarms(facts.probed)]
        for alarm in alarms:
            if alarm.confirmed and not alarm.renewal:
                return self._pause(facts.step, alarm)
        renewals = [alarm for alarm in alarms if alarm.renewal]
        if renewals and self._renewals < self._config.renewals_max:
            return self._renew(facts.step, renewals[0])
        return self._go_on(facts.step, [alarm for alarm in alarms if not alarm.renewal])

    def accepts(self, dev_nats: float | None) -> bool:
        """Return whether a checkpoint made now is good to roll back to; a good one ends a try.

        The guard must be in the healthy state, and the held-out loss must not be a spike above that
        of the last good checkpoint: the loss of the last batch does not show the last update.
        """
        if not self._config.enabled:
            return dev_nats is not None
        if dev_nats is None or self.current != "HEALTHY":
            return False
        limit = None if self._good_nats is None else self._good_nats * (1 + self._config.loss_share)
        if limit is not None and dev_nats > limit:
            return False
        self._good_nats, self._tries = dev_nats, 0
        return True

    def rolled_back(self, step: int, state: Mapping[str, Any] | None) -> GuardChanged:
        """Begin a recovery from a good checkpoint.

        Args:
            step: Steps taken at that checkpoint.
            state: This guard's state in it; None for the start of the run.
        """
        tries, renewals, ceiling = self._tries, self._renewals, self._ceiling
        if state is not None:
            self.restore(state)
        self._tries, self._renewals, self._ceiling = tries, renewals, ceiling
        if tries > 1:
            self._ceiling *= self._config.rate_share
        numbers = {"to_step": float(step), "try": float(tries), "rate_factor": self._ceiling}
        self.current, self._since_step, self._faults, self._quiet = "PAUSED", step, 0, 0
        return self._change(step, "RECOVERING", "rolled back", numbers)

    def state(self) -> dict[str, Any]:
        """Return everything that later decisions depend on, as JSON values."""
        return {
            "current": self.current,
            "faults": self._faults,
            "quiet": self._quiet,
            "tries": self._tries,
            "renewals": self._renewals,
            "ceiling": self._ceiling,
            "since_step": self._since_step,
            "good_nats": self._good_nats,
            "spike": self._spike.state(),
            "rise": self._rise.state(),
            "gradient": self._gradient.state(),
            "lasting": {name: watch.state() for name, watch in self._lasting.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a value that `state` returned."""
        self.current = state["current"]
        self._faults, self._quiet = state["faults"], state["quiet"]
        self._tries, self._renewals = state["tries"], state["renewals"]
        self._ceiling, self._since_step = state["ceiling"], state["since_step"]
        self._good_nats = state["good_nats"]
        self._spike.restore(state["spike"])
        self._rise.restore(state["rise"])
        self._gradient.restore(state["gradient"])
        for name, lasting in self._lasting.items():
            lasting.restore(state["lasting"][name])

    # --- what the watches say --------------------------------------------------------------------

    def _fault_alarms(self, facts: Facts) -> list[_Alarm]:
        """Return the alarms that a step itself raises, the most serious first."""
        alarms = []
        fault = None if facts.taken else _not_finite(facts)
        if facts.taken:
            loss = self._spike.observe(facts.loss_nats)
            level = self._rise.observe(facts.loss_nats)
            norm = self._gradient.observe(facts.gradient_norm)
            if loss is not None and loss.beyond:
                fault = _Alarm("the loss spiked", loss.numbers())
            if level is not None and level.beyond:
                alarms.append(_Alarm("the loss rose", level.numbers(), confirmed=True))
            if norm is not None and norm.beyond:
                alarms.append(_Alarm("the gradient norm spiked", norm.numbers()))
        self._faults = 0 if fault is None else self._faults + 1
        if fault is not None:
            counted = {**fault.numbers, "in_a_row": float(self._faults)}
            alarms.insert(0, _Alarm(fault.cause, counted, self._faults >= self._config.confirm))
        return alarms

    def _probe_alarms(self, probed: Probed | None) -> list[_Alarm]:
        if probed is None:
            return []
        readings: list[tuple[str, str, Reading]] = []
        if self._config.output and probed.entropy_nats is not None:
            limit = self._config.entropy_share * (probed.cross_entropy_nats or 0.0)
            entropy = self._lasting["entropy"].observe(probed.entropy_nats, limit)
            readings.append(("entropy", "the output entropy collapsed", entropy))
        if self._config.output and probed.repetition is not None:
            repetition = self._lasting["repetition"].observe(probed.repetition)
            readings.append(("repetition", "the output repeats one token", repetition))
        if self._config.phi and probed.phi_gauge is not None:
            for name, cause in (("collapse", "Phi collapsed"), ("fracture", "FRACTURE")):
                reading = self._lasting[name].observe(probed.phi_gauge)
                readings.append((name, cause, reading))
        # A fracture is no damage: until it is confirmed it does not even warn.
        return [
            _Alarm(cause, reading.numbers(), reading.beyond, renewal=name == "fracture")
            for name, cause, reading in readings
            if (reading.beyond if name == "fracture" else self._lasting[name].suspicious)
        ]

    def _suspicious(self) -> bool:
        """Return whether a collapse is suspected, also between two probes."""
        return any(watch.suspicious for name, watch in self._lasting.items() if name != "fracture")

    # --- what the states do ----------------------------------------------------------------------

    def _pause(self, step: int, alarm: _Alarm) -> Decision:
        change = self._change(step, "PAUSED", alarm.cause, alarm.numbers)
        self._tries += 1
        action: Action = "roll_back" if self._tries <= self._config.tries_max else "give_up"
        return Decision(
            action=action, changes=(change,), cause=alarm.cause, numbers=dict(alarm.numbers)
        )

    def _renew(self, step: int, alarm: _Alarm) -> Decision:
        self._renewals += 1
        self._lasting["fracture"].again()
        self._since_step, self._quiet = step, 0
        numbers = {**alarm.numbers, "renewal": float(self._renewals)}
        change = self._change(step, "RECOVERING", f"{alarm.cause}: renewal", numbers)
        return Decision(changes=(change,), cause=alarm.cause, numbers=numbers)

    def _go_on(self, step: int, alarms: list[_Alarm]) -> Decision:
        self._quiet = 0 if alarms or self._suspicious() else self._quiet + 1
        if alarms and self.current == "HEALTHY":
            alarm = alarms[0]
            change = self._change(step, "WARN", alarm.cause, alarm.numbers)
            return Decision(changes=(change,), cause=alarm.cause, numbers=dict(alarm.numbers))
        warned = self.current == "WARN" and self._quiet >= self._config.calm_steps
        recovered = (
            self.current == "RECOVERING"
            and self._quiet >= self._config.calm_steps
            and step - self._since_step >= self._config.recover_steps
        )
        if warned or recovered:
            quiet = {"quiet_steps": float(self._quiet)}
            return Decision(changes=(self._change(step, "HEALTHY", "calm", quiet),))
        return Decision()

    def _change(
        self, step: int, after: GuardState, cause: str, numbers: Mapping[str, float]
    ) -> GuardChanged:
        before, self.current = self.current, after
        return GuardChanged(
            kernel=self._kernel,
            step=step,
            before=before,
            after=after,
            cause=cause,
            numbers=dict(numbers),
        )


def _not_finite(facts: Facts) -> _Alarm:
    measured = {"loss": facts.loss_nats, "gradient_norm": facts.gradient_norm}
    wrong = [name for name, value in measured.items() if not math.isfinite(value)]
    finite = {name: value for name, value in measured.items() if name not in wrong}
    return _Alarm(f"not finite: {' and '.join(wrong)}", finite)
