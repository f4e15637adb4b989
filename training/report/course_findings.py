"""Summarise the course of a run: guard and phase changes, kernel states, budgets, checks."""

from collections.abc import Mapping
from typing import Any

from training.progress.event_words import in_words
from training.progress.events import Event
from training.report.facts import Json, RunFacts

LINES_MAX = 40
"""Largest number of changes that are listed; `training.log` has the full history."""


def course(facts: RunFacts) -> dict[str, Any]:
    """Return counts and lines of guard changes, phases, states and budgets, as JSON values."""
    history = facts.history
    if history is None:
        return {"rollbacks": 0, "phase_changes": 0, "lines": [], "lines_left_out": 0}
    changes = [event for event in history.phases if event.before is not None]
    failed = [event for event in history.states if event.state in ("FAILED", "STOPPED")]
    events: list[Event] = [*failed, *history.guards, *changes, *history.budgets]
    lines = [in_words(event) for event in events]
    return {
        "rollbacks": sum(event.after == "PAUSED" for event in history.guards),
        "phase_changes": len(changes),
        "lines": lines[:LINES_MAX],
        "lines_left_out": max(0, len(lines) - LINES_MAX),
    }


def course_sentence(happened: Json) -> str:
    """Return a sentence on how many guard interventions the run had."""
    if not happened["rollbacks"]:
        return "No guard went back to an earlier checkpoint."
    times = "once" if happened["rollbacks"] == 1 else f"{happened['rollbacks']} times"
    return f"Guards went back to an earlier checkpoint {times}."


def states(facts: RunFacts) -> dict[str, str]:
    """Return kernel -> state; kernels of unknown state are left out."""
    rows = (facts.status or {}).get("kernels", {})
    return {name: str(values["state"]) for name, values in rows.items() if "state" in values}


def states_sentence(known: Mapping[str, str]) -> str | None:
    """Return a sentence that names unfinished kernels; None when all are finished or unknown."""
    by_state: dict[str, list[str]] = {}
    for name, state in known.items():
        by_state.setdefault(state, []).append(name)
    by_state.pop("FINISHED", None)
    if not by_state:
        return None
    unfinished = "; ".join(f"{state}: {', '.join(names)}" for state, names in by_state.items())
    return f"Not finished: {unfinished}. This report covers the run so far."


def phase_shares(facts: RunFacts) -> dict[str, dict[str, float]]:
    """Return kernel -> phase -> share of its steps; kernels without phases are left out."""
    curves = {} if facts.history is None else facts.history.curves
    shares = {name: curve.phase_shares() for name, curve in curves.items()}
    return {name: share for name, share in shares.items() if share}
