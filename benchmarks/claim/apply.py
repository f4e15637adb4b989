"""Apply every rule to the scores of one seed. Shapes: D documents, M experts, T tokens of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.claim import rules
from benchmarks.claim.material import Material
from benchmarks.claim.models import DENSE, DOMAINS, SEED, Models, Scores
from benchmarks.claim.routes import FisherRoutes, fisher_routes, fit, peer_routes
from constellation.records import FloatArray

MIXTURE_EXPERTS = 2
POSTERIOR_EXPERTS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Applied:
    """What the rules gave."""

    nats: Mapping[str, Sequence[float]]
    """Rule or model -> nats of each document's scored tokens."""
    accuracy: Mapping[str, float]
    """Rule -> share of documents (of stretches, for `rerouted`) sent to their own expert."""
    route: FisherRoutes
    """Over the experts of the domains."""


def apply_rules(
    models: Models, scores: Scores, gauges: Mapping[str, float], material: Material
) -> Applied:
    """Return every rule's nats over the experts of the domains, and ours over other divisions."""
    experts = scores.experts[DOMAINS]
    route = fisher_routes(fit(material, gauges), material.coordizer, material.test)
    picks = {"nearest": route.nearest_D, **peer_routes(material, seed=models.number)}
    accuracy: dict[str, float] = {}
    own_D = own_experts(material)
    if own_D is not None:
        accuracy = {name: float((kernel_D == own_D).mean()) for name, kernel_D in picks.items()}
        accuracy["rerouted"] = _renewed_accuracy(route, own_D)
        picks["oracle"] = own_D
    nats = {
        DENSE: [rules.kept(each[None], 0) for each in scores.dense],
        SEED: [rules.kept(each[None], 0) for each in scores.seed],
        **{name: kept_nats(experts, kernel_D) for name, kernel_D in picks.items()},
        **fisher_nats(experts, route),
        "uniform": _uniform(experts),
    }
    return Applied({**nats, **_other_divisions(models, scores, material)}, accuracy, route)


def own_experts(material: Material) -> NDArray[np.intp] | None:
    """Return the expert of each test document's label; None when a label has no expert."""
    if any(each.domain not in material.domains for each in material.test):
        return None
    return np.array([material.domains.index(each.domain) for each in material.test])


def kept_nats(experts: Sequence[FloatArray], kernel_D: NDArray[np.intp]) -> list[float]:
    """Return nats of each document when its first route is kept."""
    return [rules.kept(each, int(kernel)) for each, kernel in zip(experts, kernel_D, strict=True)]


def fisher_nats(experts: Sequence[FloatArray], route: FisherRoutes) -> dict[str, list[float]]:
    """Return nats of each document under the rules that renew a route or mix experts."""
    mixture_DM, posterior_DM = (route.weights(k) for k in (MIXTURE_EXPERTS, POSTERIOR_EXPERTS))
    return {
        "rerouted": list(map(rules.rerouted, experts, route.renewed)),
        "mixture": list(map(rules.mixture, experts, mixture_DM)),
        "posterior": list(map(rules.posterior, experts, posterior_DM)),
    }


def _other_divisions(models: Models, scores: Scores, material: Material) -> dict[str, list[float]]:
    """Return the nats of experts of other groups than the domains, by the same recipe."""
    nats: dict[str, list[float]] = {}
    for division, source in models.divisions.items():
        if division == DOMAINS:
            continue
        experts = scores.experts[division]
        route = fisher_routes(fit(source, {}), source.coordizer, material.test)
        nats[division] = kept_nats(experts, route.nearest_D)
        found = fisher_nats(experts, route)
        nats |= {f"{division}_{name}": found[name] for name in ("rerouted", "posterior")}
    return nats


def _uniform(experts: Sequence[FloatArray]) -> list[float]:
    num_experts = len(experts[0])
    return [rules.mixture(each, np.full(num_experts, 1 / num_experts)) for each in experts]


def _renewed_accuracy(route: FisherRoutes, own_D: NDArray[np.intp]) -> float:
    pairs = zip(route.renewed, own_D.tolist(), strict=True)
    return float(np.mean([kernel == own for kernels, own in pairs for kernel in kernels]))
