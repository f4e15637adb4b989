"""One table: train every model for every seed, score them once, apply every rule.

Shapes: S seeds, D documents.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.claim import rules
from benchmarks.claim.apply import Applied, apply_rules
from benchmarks.claim.bootstrap import Sample
from benchmarks.claim.groups import discovered_groups, random_groups
from benchmarks.claim.material import PREFIX_TOKENS, Material, make_material, regrouped
from benchmarks.claim.models import (
    DOMAINS,
    RANDOM,
    Divisions,
    Models,
    Scores,
    score_models,
    train_models,
)
from benchmarks.claim.plan import Plan
from benchmarks.claim.train import Say
from constellation.curricula.prepare import PreparedCorpus
from constellation.kernel.files.checkpoint import load_kernel
from constellation.records import FloatArray
from training.evaluation.observables import observe


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where and by whom the work is done."""

    folder: Path
    """For streams and kernels; what is finished there is not done again."""
    pool: ProcessPoolExecutor
    """Trains and scores."""
    say: Say
    """Hears what is done."""

    def room(self, name: str) -> "Workshop":
        """Return the same with a folder of its own inside this one."""
        return replace(self, folder=self.folder / name)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a table is made of."""

    plan: Plan
    material: Material
    sample: Sample
    nats: Mapping[str, FloatArray]
    """Rule or model -> nats of each document's scored tokens, shape (S, D)."""
    accuracy: Mapping[str, float]
    """Rule -> share of documents (of stretches, for `rerouted`) sent to their own expert."""
    reread_share: float
    """Tokens that newly chosen kernels read again, over the tokens scored."""
    processor_s: float
    """Of all trainings."""
    models: Sequence[Models] = field(repr=False)
    """For each seed."""
    scores: Sequence[Scores] = field(repr=False)
    """For each seed."""
    phi_gauges: Sequence[Mapping[str, float]] = field(repr=False)
    """For each seed: expert of a domain -> gauge."""


def run(
    corpus: PreparedCorpus,
    plan: Plan,
    shop: Workshop,
    *,
    randomly: bool = True,
    shards: Sequence[int] = (),
) -> Outcome:
    """Train, score and route.

    Args:
        corpus: Test documents of a domain without training text count as unseen: no oracle.
        plan: Steps and shapes.
        shop: Where and by whom.
        randomly: Train the experts of a random split too.
        shards: Numbers of experts to train on groups that k-means finds.
    """
    material = make_material(
        corpus,
        shop.folder / "streams",
        vocab_size=plan.shape.vocab_size,
        replay_share=plan.recipe.replay_share,
    )
    models = [
        Models(
            shop.folder / "kernels" / str(number),
            number,
            _divisions(material, number, randomly=randomly, shards=shards),
        )
        for number in range(plan.num_seeds)
    ]
    seconds = train_models(plan, material, models, shop.pool, shop.say)
    scores = [score_models(each, material.test, material, shop.pool) for each in models]
    gauges = [_phi_gauges(material, each) for each in models]
    applied = [
        apply_rules(each, score, gauge, material)
        for each, score, gauge in zip(models, scores, gauges, strict=True)
    ]
    return Outcome(
        plan=plan,
        material=material,
        sample=_sample(material),
        nats={name: np.array([each.nats[name] for each in applied]) for name in applied[0].nats},
        accuracy={
            name: float(np.mean([each.accuracy[name] for each in applied]))
            for name in applied[0].accuracy
        },
        reread_share=_reread_share(material, applied, plan.shape.context),
        processor_s=seconds,
        models=models,
        scores=scores,
        phi_gauges=gauges,
    )


def _divisions(
    material: Material, number: int, *, randomly: bool, shards: Sequence[int]
) -> Divisions:
    """Return the ways in which one seed divides the text."""
    corpus = material.corpus
    found = {DOMAINS: material}
    if randomly:
        groups = random_groups(corpus, len(corpus.domains), seed=number)
        found[RANDOM] = regrouped(material, groups, f"random-{number}", seed=number)
    for count in shards:
        groups = discovered_groups(corpus, material.coordizer, count, seed=number)
        name = f"shards-{count}"
        found[name] = regrouped(material, groups, f"{name}-{number}", seed=number)
    return found


def _sample(material: Material) -> Sample:
    return Sample.of(
        [each.domain for each in material.test],
        [each.source for each in material.test],
        [each.num_bytes for each in material.test],
    )


def _phi_gauges(material: Material, models: Models) -> dict[str, float]:
    """Return the integration that the product measures and weighs kernels with."""
    seed = load_kernel(models.seed)
    experts = models.experts(DOMAINS)
    observed = observe(
        {path.name: load_kernel(path).decoder for path in experts},
        seed.decoder,
        {path.name: np.load(material.stream(path.name, "dev")) for path in experts},
        seed_hash=seed.weights_hash,
    )
    return observed.phi_gauges


def _reread_share(material: Material, applied: Sequence[Applied], context: int) -> float:
    again = sum(
        rules.reread_tokens(kernels, context) for each in applied for kernels in each.route.renewed
    )
    scored = sum(len(each.ids) - PREFIX_TOKENS for each in material.test)
    return again / scored / len(applied)
