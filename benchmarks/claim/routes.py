"""Where every rule sends every held-out document.

Ours decides by the product's own table and policy. Peers get the same training text, the same
first tokens, and choose their settings on passages of the development split.

Shapes: D documents, M kernels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import cbtm, naive_bayes
from benchmarks.claim.material import PREFIX_TOKENS, HeldOut, Material
from benchmarks.claim.rules import RENEW_TOKENS
from constellation.coordizer.coordizer import Coordizer
from constellation.domains.calibration_passages import PASSAGES_PER_DOCUMENT
from constellation.domains.fit import FitOptions, Fitted, fit_table
from constellation.records import FloatArray, Rule, TokenArray
from constellation.routing.policy import RoutingPolicy
from training.domain_records import domain_records

Predict = Callable[[Sequence[TokenArray]], NDArray[np.intp]]


@dataclass(frozen=True, slots=True, eq=False)
class FisherRoutes:
    """The decisions of the policy."""

    nearest_D: NDArray[np.intp]
    """From the prefix."""
    renewed: Sequence[Sequence[int]]
    """For each document, the kernel of each stretch after the prefix, from all text before it."""
    basins: Sequence[FloatArray]
    """Of the prefix of each document."""
    policy: RoutingPolicy

    def weights(self, top_k: int) -> FloatArray:
        """Return the policy's weights of the nearest `top_k`, from the prefix, shape (D, M)."""
        names = {site.name: place for place, site in enumerate(self.policy.table.sites)}
        weights_DM = np.zeros((len(self.basins), len(names)))
        for place, basin_K in enumerate(self.basins):
            route = self.policy.decide(
                basin_K, num_tokens=PREFIX_TOKENS, top_k=min(top_k, len(names))
            )
            for choice in route.choices:
                weights_DM[place, names[choice.kernel]] = choice.weight
        return weights_DM


def fit(material: Material, phi_gauges: Mapping[str, float]) -> Fitted:
    """Return the product's table for the kernels of a material's domains."""
    records = domain_records(material.corpus, material.coordizer, phi_gauges)
    options = FitOptions(seed=material.coordizer.provenance.seed, basins_max=1)
    return fit_table(records, material.coordizer, options)


def fisher_routes(
    fitted: Fitted,
    coordizer: Coordizer,
    documents: Sequence[HeldOut],
    *,
    rule: Rule = Rule.BEARING,
    phi_weighting: bool = True,
) -> FisherRoutes:
    """Route every document from its prefix, and again from all text before each stretch."""
    policy = RoutingPolicy(fitted.table, rule=rule, phi_weighting=phi_weighting)
    numbers = {site.name: place for place, site in enumerate(fitted.table.sites)}

    def decide(ids: TokenArray) -> int:
        return numbers[policy.decide(coordizer.basin(ids), num_tokens=len(ids)).kernel]

    renewed = [
        [decide(each.ids[:end]) for end in range(PREFIX_TOKENS, len(each.ids), RENEW_TOKENS)]
        for each in documents
    ]
    return FisherRoutes(
        nearest_D=np.array([kernels[0] for kernels in renewed]),
        renewed=renewed,
        basins=[coordizer.basin(each.ids[:PREFIX_TOKENS]) for each in documents],
        policy=policy,
    )


def peer_routes(material: Material, *, seed: int) -> dict[str, NDArray[np.intp]]:
    """Return the kernel that c-BTM's rule and naive Bayes choose for each test prefix, (D,)."""
    names = list(material.domains)
    own_N = np.array([names.index(document.domain) for document in material.corpus.train])
    shared = {"vocab_size": material.coordizer.vocab_size, "num_domains": len(names)}
    bayes = [
        naive_bayes.NaiveBayes(material.train_tokens, own_N, smoothing=each, **shared).predict
        for each in naive_bayes.GRID
    ]
    prefixes = [document.ids[:PREFIX_TOKENS] for document in material.test]
    passages, labels_N = _passages(material)
    return {
        "cbtm": _tuned(_cbtm(material, own_N, seed), passages, labels_N)(prefixes),
        "naive_bayes": _tuned(bayes, passages, labels_N)(prefixes),
    }


def _cbtm(material: Material, own_N: NDArray[np.intp], seed: int) -> list[Predict]:
    """Return the rule at every setting of its grid."""
    embeddings = [
        cbtm.Embedding(
            material.train_tokens,
            own_N,
            vocab_size=material.coordizer.vocab_size,
            tokens=tokens,
            sublinear=sublinear,
            seed=seed,
        )
        for tokens, sublinear in ((PREFIX_TOKENS, False), (PREFIX_TOKENS, True), *cbtm.GRID)
    ]
    return [
        cbtm.Cbtm(
            each, num_domains=len(material.domains), centres=centres, unit=unit, seed=seed
        ).predict
        for each in embeddings
        for centres, unit in cbtm.VARIANTS
    ]


def _passages(material: Material) -> tuple[list[TokenArray], NDArray[np.intp]]:
    """Return the development passages that the product's own calibration sees."""
    passages, labels = [], []
    for document, ids in zip(material.corpus.dev, material.dev_tokens, strict=True):
        starts = range(0, len(ids) - PREFIX_TOKENS + 1, PREFIX_TOKENS)[:PASSAGES_PER_DOCUMENT]
        passages += [ids[start : start + PREFIX_TOKENS] for start in starts]
        labels += [material.domains.index(document.domain)] * len(starts)
    return passages, np.array(labels)


def _tuned(
    candidates: Sequence[Predict], passages: Sequence[TokenArray], labels_N: NDArray[np.intp]
) -> Predict:
    """Return the candidate with the best accuracy on the passages, the domains weighing alike."""
    weight_N = 1 / np.bincount(labels_N)[labels_N]
    scores = [float(((each(passages) == labels_N) * weight_N).sum()) for each in candidates]
    return candidates[int(np.argmax(scores))]
