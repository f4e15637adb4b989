"""The slower tables: equal inference cost, equal stored size, an unseen domain, other divisions of
the text, and the boundary (size x tokens) behind which experts lose.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.claim import rules
from benchmarks.claim.ablations import ablate
from benchmarks.claim.bootstrap import ratio
from benchmarks.claim.experiment import Outcome, Workshop, run
from benchmarks.claim.models import dense_task
from benchmarks.claim.plan import Plan, Shape
from benchmarks.claim.score import Documents, score_all
from benchmarks.claim.train import train_all
from constellation.curricula.prepare import PreparedCorpus
from constellation.records import FloatArray

SHARDS = (4, 8, 16, 32)
"""Numbers of experts on groups that k-means finds."""

REGIME_WIDTHS = (32, 48, 96)
REGIME_SHARES = (0.04, 0.2, 1.0)
"""Of the first table's tokens."""


def full(outcome: Outcome, corpus: PreparedCorpus, shop: Workshop) -> dict[str, object]:
    """Return all further tables as plain JSON values."""
    return {
        "ablations": ablate(outcome),
        "equal_flops": equal_flops(outcome, shop),
        "equal_stored": equal_stored(outcome, shop),
        "unseen_domain": unseen_domain(outcome.plan, corpus, shop),
        "kernels": divisions(outcome, corpus, shop),
        "regime": regime(outcome.plan, corpus, shop),
    }


def equal_flops(outcome: Outcome, shop: Workshop) -> dict[str, object]:
    """Compare the mixture of two with a dense model that costs twice as much to run.

    The larger model gets half the tokens: the training costs the same, too.
    """
    plan = outcome.plan
    target = 2 * _flops(plan, plan.shape)
    larger = _scaled(plan.shape, lambda shape: _flops(plan, shape) >= target)
    nats_SD = _larger_dense(outcome, larger, "dense-double", shop)
    return {
        "width": larger.width,
        "flops_ratio": round(_flops(plan, larger) / _flops(plan, plan.shape), 3),
        "ratio_mixture_dense": ratio(outcome.sample, outcome.nats["mixture"], nats_SD),
    }


def equal_stored(outcome: Outcome, shop: Workshop) -> dict[str, object]:
    """Compare with a dense model of as many parameters as all experts, at equal training cost."""
    plan = outcome.plan
    target = plan.num_domains * _parameters(plan, plan.shape)
    larger = _scaled(plan.shape, lambda shape: _parameters(plan, shape) >= target)
    nats_SD = _larger_dense(outcome, larger, "dense-stored", shop)
    names = ("nearest", "rerouted", "mixture", "posterior")
    return {
        "width": larger.width,
        "parameters_ratio": round(_parameters(plan, larger) / target, 3),
        "flops_ratio": round(_flops(plan, larger) / _flops(plan, plan.shape), 3),
        **{
            f"ratio_{name}_dense": ratio(outcome.sample, outcome.nats[name], nats_SD)
            for name in names
        },
    }


def unseen_domain(plan: Plan, corpus: PreparedCorpus, shop: Workshop) -> dict[str, object]:
    """Leave the last domain out of all training and score its documents; half the steps."""
    unseen = corpus.domains[-1]
    train, dev = (
        tuple(document for document in documents if document.domain != unseen)
        for documents in (corpus.train, corpus.dev)
    )
    test = tuple(document for document in corpus.test if document.domain == unseen)
    rest = replace(corpus, train=train, dev=dev, test=test)
    less = replace(
        plan,
        num_domains=plan.num_domains - 1,
        seed_steps=plan.seed_steps // 2,
        branch_steps=plan.branch_steps * plan.num_domains // (plan.num_domains - 1) // 2,
    )
    outcome = run(rest, less, shop.room("unseen"), randomly=False)
    names = ("nearest", "rerouted", "mixture", "posterior", "uniform", "cbtm", "seed")
    return {"domain": unseen} | {
        f"ratio_{name}_dense": ratio(outcome.sample, outcome.nats[name], outcome.nats["dense"])
        for name in names
    }


def divisions(outcome: Outcome, corpus: PreparedCorpus, shop: Workshop) -> dict[str, object]:
    """Train 4 to 32 experts on groups found without labels, from the same seeds.

    The experts share the branches' steps; counts beyond half the development documents are left
    out.
    """
    counts = [count for count in SHARDS if count <= len(corpus.dev) // 2]
    shards = run(corpus, outcome.plan, shop, shards=counts)
    found: dict[str, object] = {}
    for count in counts:
        found[str(count)] = {
            f"ratio_{name}_dense": ratio(
                shards.sample, shards.nats[f"shards-{count}{suffix}"], shards.nats["dense"]
            )
            for name, suffix in (
                ("nearest", ""),
                ("rerouted", "_rerouted"),
                ("posterior", "_posterior"),
            )
        }
    return found


def regime(plan: Plan, corpus: PreparedCorpus, shop: Workshop) -> list[dict[str, object]]:
    """Return how experts stand to dense for sizes and numbers of tokens, one seed each."""
    return [
        _cell(plan, corpus, shop, width, share)
        for width in REGIME_WIDTHS
        for share in REGIME_SHARES
    ]


def _cell(
    plan: Plan, corpus: PreparedCorpus, shop: Workshop, width: int, share: float
) -> dict[str, object]:
    cell = replace(
        plan,
        num_seeds=1,
        seed_steps=max(1, round(plan.seed_steps * share)),
        branch_steps=max(1, round(plan.branch_steps * share)),
        shape=widened(plan.shape, width),
    )
    outcome = run(corpus, cell, shop.room(f"regime-{width}-{share}"), randomly=False)
    return {
        "width": width,
        "parameters": _parameters(cell, cell.shape),
        "tokens_per_expert": cell.branch_steps * cell.tokens_per_step,
        "tokens_dense": cell.dense_steps * cell.tokens_per_step,
    } | {
        f"ratio_{name}_dense": ratio(outcome.sample, outcome.nats[name], outcome.nats["dense"])
        for name in ("oracle", "rerouted")
    }


def widened(shape: Shape, width: int) -> Shape:
    """Return the shape at another width, as many heads, the MLP in proportion."""
    mlp_width = 8 * round(width * shape.mlp_width / shape.width / 8)
    return replace(shape, width=width, mlp_width=mlp_width)


def _scaled(shape: Shape, enough: Callable[[Shape], bool]) -> Shape:
    """Return the narrowest shape, in steps of eight channels, that is large enough."""
    width = shape.width
    while not enough(widened(shape, width)):
        width += 8
    return widened(shape, width)


def _flops(plan: Plan, shape: Shape) -> int:
    """Return the forward cost of a token in the middle of the context."""
    return shape.config(plan.shape.vocab_size).flops_per_token(shape.context // 2)


def _parameters(plan: Plan, shape: Shape) -> int:
    return shape.config(plan.shape.vocab_size).num_parameters()


def _larger_dense(outcome: Outcome, shape: Shape, name: str, shop: Workshop) -> FloatArray:
    """Train a larger dense model at the same training cost; return its nats, shape (S, D)."""
    plan, material = outcome.plan, outcome.material
    cost = _flops(plan, shape) / _flops(plan, plan.shape)
    step = replace(
        replace(plan, shape=shape).dense_step(), steps=max(10, round(plan.dense_steps / cost))
    )
    config = shape.config(material.coordizer.vocab_size)
    tasks = [
        dense_task(each.folder / name, material, config, step, each.number)
        for each in outcome.models
    ]
    train_all(tasks, shop.pool, shop.say)
    documents = Documents.write(material.folder, material.test, material.coordizer.end_id)
    nats = score_all([task.folder for task in tasks], documents, shop.pool)
    return np.array([[rules.kept(e[None], 0) for e in documents.cut(nats_N)] for nats_N in nats])
