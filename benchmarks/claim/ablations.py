"""What each part of a rule is worth: the same experts and scores, one thing changed at a time.

Nothing is trained here. Every line is a ratio to the dense model, or to the rule it changes.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np

from benchmarks.claim import rules
from benchmarks.claim.apply import POSTERIOR_EXPERTS, fisher_nats, kept_nats
from benchmarks.claim.bootstrap import ratio
from benchmarks.claim.experiment import Outcome
from benchmarks.claim.models import DOMAINS
from benchmarks.claim.routes import FisherRoutes, fisher_routes, fit
from constellation.domains.fit import Fitted
from constellation.records import FloatArray, Rule

TOP_K = (1, 2, 3, 4)

Ratios = dict[str, dict[str, float]]


def ablate(outcome: Outcome) -> dict[str, object]:
    """Return every ablation as plain JSON values."""
    material = outcome.material
    fitted = [fit(material, gauges) for gauges in outcome.phi_gauges]
    return {
        "phi_weighting": _phi_weighting(outcome, fitted),
        "rule": _rule(outcome, fitted),
        "top_k": _top_k(outcome, fitted),
        "switch": _switch(outcome, fitted),
        "seats": _seats(fitted),
    }


def _routes(
    outcome: Outcome,
    fitted: list[Fitted],
    *,
    rule: Rule = Rule.BEARING,
    phi_weighting: bool = True,
) -> list[FisherRoutes]:
    return [
        fisher_routes(
            each,
            outcome.material.coordizer,
            outcome.material.test,
            rule=rule,
            phi_weighting=phi_weighting,
        )
        for each in fitted
    ]


def _nats(outcome: Outcome, routes: list[FisherRoutes]) -> dict[str, FloatArray]:
    """Return nats by rule, shape (S, D), for other routes over the same scores."""
    found = []
    for score, route in zip(outcome.scores, routes, strict=True):
        experts = score.experts[DOMAINS]
        nearest = kept_nats(experts, route.nearest_D)
        found.append(fisher_nats(experts, route) | {"nearest": nearest})
    return {name: np.array([each[name] for each in found]) for name in found[0]}


def _against(outcome: Outcome, upper: Mapping[str, FloatArray], names: tuple[str, ...]) -> Ratios:
    """Return each rule with the change over the same rule without it."""
    return {name: ratio(outcome.sample, upper[name], outcome.nats[name]) for name in names}


def _phi_weighting(outcome: Outcome, fitted: list[Fitted]) -> dict[str, object]:
    gauges = [value for each in outcome.phi_gauges for value in each.values()]
    without = _nats(outcome, _routes(outcome, fitted, phi_weighting=False))
    return {
        "gauges": None if not gauges else [round(min(gauges), 3), round(max(gauges), 3)],
        "without_over_with": _against(outcome, without, ("mixture", "posterior")),
    }


def _rule(outcome: Outcome, fitted: list[Fitted]) -> dict[str, object]:
    geodesic = _nats(outcome, _routes(outcome, fitted, rule=Rule.GEODESIC))
    names = ("nearest", "rerouted", "mixture", "posterior")
    return {"geodesic_over_bearing": _against(outcome, geodesic, names)}


def _top_k(outcome: Outcome, fitted: list[Fitted]) -> dict[str, object]:
    """Return mixture and posterior over the dense model for 1 to 4 experts."""
    routes = _routes(outcome, fitted)
    found: dict[str, Ratios] = {"mixture": {}, "posterior": {}}
    for top_k in TOP_K:
        for name, rule in (("mixture", rules.mixture), ("posterior", rules.posterior)):
            nats_SD = np.array(
                [
                    list(map(rule, score.experts[DOMAINS], route.weights(top_k)))
                    for score, route in zip(outcome.scores, routes, strict=True)
                ]
            )
            found[name][str(top_k)] = ratio(outcome.sample, nats_SD, outcome.nats["dense"])
    return dict(found)


def _switch(outcome: Outcome, fitted: list[Fitted]) -> dict[str, object]:
    """Return what a posterior costs that believes in one kernel for a whole text."""
    plain = partial(rules.posterior, switch=0)
    nats_SD = np.array(
        [
            list(map(plain, score.experts[DOMAINS], route.weights(POSTERIOR_EXPERTS)))
            for score, route in zip(outcome.scores, _routes(outcome, fitted), strict=True)
        ]
    )
    return {"without_over_with": ratio(outcome.sample, nats_SD, outcome.nats["posterior"])}


def _seats(fitted: list[Fitted]) -> dict[str, object]:
    """Return how well the distances of E8 seats follow those of basins; seats do not route."""
    seated = [each.seating for each in fitted if each.seating is not None]
    return {
        "e8_distortion": [round(each.distortion, 4) for each in seated],
        "random_distortion": [round(each.random_distortion, 4) for each in seated],
    }
