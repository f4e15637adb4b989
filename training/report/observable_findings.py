"""Findings on the statistics Phi, kappa and beta, each beside the null it is compared with."""

from training.report.facts import Json, RunFacts
from training.report.verdicts import Finding, count_of, pair, side, span

GAUGE_BAND = (0.75, 0.85)
"""Phi gauges within two robust standard deviations of the reference, by the gauge's definition."""


def observable_findings(facts: RunFacts) -> list[Finding]:
    """Return findings on the observables that were measured."""
    kernels = facts.observables.get("kernels") or {}
    found = [_phi(kernels), _gauge(kernels), _kappa_learned(kernels), _kappa_measured(kernels)]
    return [finding for finding in (*found, _beta(facts.beta)) if finding is not None]


def _phi(kernels: Json) -> Finding | None:
    measured = [values["phi"] for values in kernels.values() if values["phi"]["value"] is not None]
    return _counted(
        measured,
        name="kernels with Phi above its null",
        null_name="shuffled groups",
        sentence="Phi of {counted} lies above its null, that of shuffled groups, with all of its "
        "interval.",
    )


def _gauge(kernels: Json) -> Finding | None:
    gauges = [values["phi_gauge"] for values in kernels.values() if values["phi_gauge"] is not None]
    if not gauges:
        return None
    low, high = GAUGE_BAND
    inside = sum(low <= gauge <= high for gauge in gauges)
    above = sum(gauge > high for gauge in gauges)
    below = len(gauges) - inside - above
    return Finding(
        name=f"kernels with a Phi gauge within {low} to {high}",
        value=float(inside),
        n=len(gauges),
        verdict=f"{inside} inside, {above} above, {below} below",
        sentence=f"The Phi gauge of {count_of(inside, len(gauges), 'kernels')} lies within {low} "
        f"to {high}, two robust standard deviations of the seed: there no change of Phi is shown "
        f"({above} above, {below} below).",
    )


def _kappa_learned(kernels: Json) -> Finding | None:
    measured = [
        values["kappa_learned"]
        for values in kernels.values()
        if values["kappa_learned"]["value"] is not None
    ]
    if not measured:
        return None
    sides = [side(pair(each["interval"]), each["null"]) for each in measured]
    moved = len(sides) - sides.count("holds") - sides.count("unknown")
    start = measured[0]["null"]
    return Finding(
        name="kernels whose learned kappa left its start",
        value=float(moved),
        null=start,
        null_name="value before training",
        n=len(sides),
        verdict=f"{moved} of {len(sides)}",
        sentence=f"The mean learned coupling of {count_of(moved, len(sides), 'kernels')} moved "
        f"away from its start {start:g} ({sides.count('above')} up, {sides.count('below')} down).",
    )


def _kappa_measured(kernels: Json) -> Finding | None:
    measured = [
        values["kappa_measured"] for values in kernels.values() if values.get("kappa_measured")
    ]
    return _counted(
        [each for each in measured if each["value"] is not None],
        name="kernels with measured kappa above its null",
        null_name="tokens in random order",
        sentence="The measured coupling of {counted} lies above its null, that of tokens in random "
        "order, with all of its interval.",
    )


def _counted(measured: list[Json], *, name: str, null_name: str, sentence: str) -> Finding | None:
    """Count the measurements whose interval is above their own null."""
    if not measured:
        return None
    sides = [side(pair(each["interval"]), each["null"]) for each in measured]
    above = sides.count("above")
    return Finding(
        name=name,
        value=float(above),
        null_name=null_name,
        n=len(sides),
        verdict=f"{above} of {len(sides)}",
        sentence=sentence.format(counted=count_of(above, len(sides), "kernels")),
    )


def _beta(beta: Json | None) -> Finding | None:
    if beta is None:
        return None
    fit = beta["beta_fit"]
    interval = pair(fit["ci95"])
    if fit["value"] is None:
        verdict = "undefined"
    else:
        verdict = {
            "above": "coupling grows with length",
            "below": "coupling falls with length",
        }.get(side(interval), "no running shown")
    return Finding(
        name="beta, running of the coupling",
        value=fit["value"],
        unit="per unit of ln length",
        interval=interval,
        null=0.0,
        null_name="no running",
        n=beta["n"],
        n_unit="passages",
        verdict=verdict,
        sentence=_beta_sentence(beta, interval, verdict),
    )


def _beta_sentence(beta: Json, interval: tuple[float, float] | None, verdict: str) -> str:
    if beta["beta_fit"]["value"] is None:
        return str(beta["conclusion_words"])
    value = beta["beta_fit"]["value"]
    return (
        f"beta is {value:+.3f} (95 % interval {span(interval, signed=True)}, {beta['n']} "
        f"passages): {verdict}; against the expected {beta['expected']}: {beta['conclusion']}."
    )
