"""Phases are bands of the gauge, held by hysteresis and a dwell."""

import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ConfigError
from training.guards.phase import PHASES, PhaseConfig, PhaseTracker, phase_of
from training.progress.events import Phase, PhaseChanged

CONFIG = PhaseConfig()
gauges = st.lists(st.floats(0, 1), min_size=1, max_size=80)


def follow(values: list[float], config: PhaseConfig = CONFIG) -> list[Phase | None]:
    tracker = PhaseTracker("k", config)
    phases = []
    for step, gauge in enumerate(values):
        tracker.observe(step=step, gauge=gauge)
        phases.append(tracker.phase)
    return phases


@pytest.mark.parametrize(
    ("gauge", "phase"),
    [
        (0.0, "FOAM"),
        (0.6999, "FOAM"),
        (0.70, "TACKING"),
        (0.7499, "TACKING"),
        (0.75, "CRYSTAL"),
        (0.85, "CRYSTAL"),
        (0.8501, "FRACTURE"),
        (1.0, "FRACTURE"),
    ],
)
def test_the_first_reading_is_judged_by_the_plain_bands(gauge: float, phase: Phase) -> None:
    tracker = PhaseTracker("k")
    change = tracker.observe(step=3, gauge=gauge)
    assert change == PhaseChanged(kernel="k", step=3, before=None, after=phase, phi_gauge=gauge)
    assert tracker.transitions == 0


@pytest.mark.parametrize(
    ("held", "stays", "leaves", "after"),
    [
        ("FOAM", 0.719, 0.721, "TACKING"),
        ("TACKING", 0.681, 0.679, "FOAM"),
        ("TACKING", 0.769, 0.771, "CRYSTAL"),
        ("CRYSTAL", 0.731, 0.729, "TACKING"),
        ("CRYSTAL", 0.869, 0.871, "FRACTURE"),
        ("FRACTURE", 0.831, 0.829, "CRYSTAL"),
        ("FOAM", 0.71, 0.9, "FRACTURE"),
    ],
)
def test_a_phase_is_left_only_beyond_the_hysteresis(
    held: Phase, stays: float, leaves: float, after: Phase
) -> None:
    assert phase_of(stays, CONFIG, held=held) == held
    assert phase_of(leaves, CONFIG, held=held) == after


def test_a_phase_is_held_for_the_dwell() -> None:
    phases = follow([0.5] + [0.8] * 12)
    assert phases == ["FOAM"] * 10 + ["CRYSTAL"] * 3


@given(gauges, st.integers(1, 12))
def test_changes_are_a_dwell_apart_and_leave_by_more_than_the_hysteresis(
    values: list[float], dwell: int
) -> None:
    config = replace(CONFIG, dwell=dwell)
    tracker = PhaseTracker("k", config)
    changes = []
    for step, gauge in enumerate(values):
        change = tracker.observe(step=step, gauge=gauge)
        if change is not None:
            assert change.after == tracker.phase
            changes.append(change)
    for one, two in itertools.pairwise(changes):
        assert two.step - one.step >= dwell
        assert two.before == one.after != two.after
        assert phase_of(two.phi_gauge, config) != two.before
        borders = config.borders
        low, high = (
            [*borders, 2.0][PHASES.index(one.after)],
            [-1.0, *borders][PHASES.index(one.after)],
        )
        assert two.phi_gauge >= low + 0.02 or two.phi_gauge <= high - 0.02 + 1e-12
    assert tracker.transitions == len(changes) - 1
    assert sum(tracker.updates.values()) == len(values)


@given(gauges, gauges)
def test_a_tracker_goes_on_from_its_state(first: list[float], second: list[float]) -> None:
    whole = follow(first + second)[len(first) :]
    tracker = PhaseTracker("k")
    for gauge in first:
        tracker.observe(step=0, gauge=gauge)
    resumed = PhaseTracker("k")
    resumed.restore(json.loads(json.dumps(tracker.state())))
    found = []
    for gauge in second:
        resumed.observe(step=0, gauge=gauge)
        found.append(resumed.phase)
    assert found == whole


@given(gauges)
def test_without_hysteresis_and_dwell_phases_are_the_plain_bands(values: list[float]) -> None:
    plain = PhaseConfig(hysteresis=0.0, dwell=1)
    assert follow(values, plain) == [phase_of(gauge, plain) for gauge in values]


@pytest.mark.parametrize(
    "change", [{"tacking_from": 0.8}, {"fracture_from": 1.0}, {"dwell": 0}, {"hysteresis": -0.1}]
)
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        replace(CONFIG, **change)  # type: ignore[arg-type]
