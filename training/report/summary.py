"""Collect the whole content of a report as JSON values, for `report --json` and Markdown.

Every number of the Markdown is in the summary.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from training.evaluation.held_out_figures import INTERVAL_DOCUMENTS_MIN
from training.report.arrivals import arrival_facts
from training.report.basin_distances import basin_facts
from training.report.course_findings import (
    course,
    course_sentence,
    phase_shares,
    states,
    states_sentence,
)
from training.report.facts import Json, RunFacts
from training.report.held_out_findings import held_out_findings
from training.report.observable_findings import GAUGE_BAND, observable_findings
from training.report.origin import provenance, spending
from training.report.refusal_findings import refusal_facts
from training.report.sample_findings import sample_findings
from training.report.validation_summary import validation
from training.report.verdicts import Finding

FORMAT = 1
"""Version of the summary's keys."""

CAVEAT = (
    "A kernel has taken more training steps than the seed it is compared with, so this shows what "
    "specialisation changed, not what it is worth at equal cost."
)


def summarise_run(facts: RunFacts, samples: Json | None) -> dict[str, Any]:
    """Return the content of a run's report; `samples` is the content of `samples.json`, if any."""
    findings = [
        *held_out_findings(facts),
        *sample_findings(samples, len(facts.kernels)),
        *observable_findings(facts),
    ]
    happened = course(facts)
    known = states(facts)
    return {
        "format": FORMAT,
        "name": facts.name,
        "num_kernels": len(facts.kernels),
        "conclusion": _conclusion(facts, findings, happened, known),
        "findings": [asdict(finding) for finding in findings],
        "kernels": {name: _kernel(facts, name) for name in facts.kernels},
        "basins": basin_facts(facts.folder),
        "arrivals": arrival_facts(facts.folder),
        "refusal": refusal_facts(facts.folder),
        "seed": _seed(facts),
        "states": known,
        "phase_shares": phase_shares(facts),
        "course": happened,
        "validation": validation(facts.validation),
        "beta": facts.beta,
        "samples": samples,
        "spending": spending(facts),
        "provenance": provenance(facts),
        "not_measured": _not_measured(facts, samples),
        "unscored": list(facts.unscored),
        "joined_since": list(facts.joined_since),
        "interval_documents_min": INTERVAL_DOCUMENTS_MIN,
        "gauge_band": list(GAUGE_BAND),
    }


def _conclusion(
    facts: RunFacts, findings: list[Finding], happened: Json, known: Mapping[str, str]
) -> list[str]:
    sentences = [finding.sentence for finding in findings]
    if findings and findings[0].name == "seed minus routed constellation":
        sentences.insert(1, CAVEAT)
    checks = validation(facts.validation)
    optional = (
        states_sentence(known),
        None if checks is None else checks["sentence"],
        None if facts.history is None else course_sentence(happened),
    )
    if not facts.held_out:
        sentences.insert(0, "Nothing was measured on held-out text, so nothing is concluded.")
    return [*sentences, *(sentence for sentence in optional if sentence)]


def _kernel(facts: RunFacts, name: str) -> dict[str, Any]:
    """Return one kernel's row; None for what was not measured."""
    report: Json = facts.report or {}
    domain: Json = facts.held_out.get("domains", {}).get(name, {})
    bits: Json = domain.get("bits_per_byte", {})
    elsewhere: Json = (report.get("across") or {}).get("kernels", {}).get(name, {})
    observed: Json = (facts.observables.get("kernels") or {}).get(name, {})
    own: Json = report.get("kernels", {}).get(name, {})
    return {
        "steps": own.get("steps"),
        "num_parameters": own.get("num_parameters"),
        "own": {
            "num_documents": domain.get("num_documents"),
            "before": bits.get("seed"),
            "after": bits.get("oracle_label"),
            "gain_ci95": domain.get("seed_minus_own_ci95"),
            "routing_accuracy": domain.get("routing_accuracy"),
        },
        "other": elsewhere.get("other"),
        "phi": observed.get("phi"),
        "phi_gauge": observed.get("phi_gauge"),
        "kappa_learned": observed.get("kappa_learned"),
        "kappa_measured": observed.get("kappa_measured"),
        **_last(facts, name),
    }


def _last(facts: RunFacts, name: str) -> dict[str, Any]:
    """Return the results of the kernel's last probe."""
    curve = None if facts.history is None else facts.history.curves.get(name)
    if curve is None:
        return {"basin_distance": None, "depth": None, "phase": None}
    distances, depths = curve.basin_distance(), curve.depth()
    return {
        "basin_distance": distances[-1][1] if distances else None,
        "depth": depths[-1][1] if depths else None,
        "phase": curve.reports[-1].phase,
    }


def _seed(facts: RunFacts) -> dict[str, Any] | None:
    report: Json = facts.report or {}
    own, observed = report.get("seed"), facts.observables.get("seed")
    if own is None and observed is None:
        return None
    return {
        "steps": (own or {}).get("steps"),
        "num_parameters": (own or {}).get("num_parameters"),
        "phi": (observed or {}).get("phi"),
        "reference": (observed or {}).get("reference"),
    }


def _not_measured(facts: RunFacts, samples: Json | None) -> list[str]:
    missing = {
        "held-out figures": facts.report is None,
        "samples": samples is None,
        "validation": facts.validation is None,
        "beta, the running of the coupling": facts.beta is None,
        "basin distance of the kernels": not any(
            _last(facts, name)["basin_distance"] is not None for name in facts.kernels
        ),
    }
    return [name for name, absent in missing.items() if absent]
