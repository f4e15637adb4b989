"""The report: bits per byte by rule and domain, the ratios with their intervals, what it cost."""

import platform
from collections.abc import Mapping
from dataclasses import asdict

import torch

from benchmarks.claim.bootstrap import ratio
from benchmarks.claim.experiment import Outcome
from benchmarks.claim.material import PREFIX_TOKENS
from benchmarks.claim.plan import CORES, TOKENS_PER_CORE_SECOND, Plan
from benchmarks.claim.train import Say

RATIOS = {
    "ratio_nearest_dense": ("nearest", "dense"),
    "ratio_rerouted_dense": ("rerouted", "dense"),
    "ratio_mixture_dense": ("mixture", "dense"),
    "ratio_posterior_dense": ("posterior", "dense"),
    "ratio_nearest_oracle": ("nearest", "oracle"),
    "ratio_rerouted_oracle": ("rerouted", "oracle"),
    "ratio_posterior_oracle": ("posterior", "oracle"),
    "ratio_fisher_cbtm": ("nearest", "cbtm"),
    "ratio_random_dense": ("random", "dense"),
}
"""Key -> the rule above the line and the one below."""

FORWARD_PASSES = {
    "uniform": "all kernels",
    "mixture": "2 kernels",
    "posterior": "4 kernels",
    "random_posterior": "4 kernels",
}
"""What a rule runs for each token; one kernel where nothing is said."""


def summarise(outcome: Outcome) -> dict[str, object]:
    """Return the report as plain JSON values; the ratios are its first keys."""
    ratios: dict[str, object] = {
        key: ratio(outcome.sample, outcome.nats[upper], outcome.nats[lower])
        for key, (upper, lower) in RATIOS.items()
    }
    return ratios | {
        "bits_per_byte": bits_per_byte(outcome),
        "accuracy": {name: round(value, 4) for name, value in outcome.accuracy.items()},
        "reread_tokens_per_token": round(outcome.reread_share, 4),
        "plan": describe(outcome.plan),
        "documents": _documents(outcome),
        "processor_s_training": round(outcome.processor_s, 1),
        "minutes_of_two_cores_training": round(outcome.processor_s / 60 / CORES, 1),
        "machine": {
            "machine": platform.machine(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }


def bits_per_byte(outcome: Outcome) -> dict[str, dict[str, object]]:
    """Return, for each rule, the macro mean, that of each seed, and the mean of each domain."""
    found: dict[str, dict[str, object]] = {}
    for name, nats_SD in outcome.nats.items():
        rows = [outcome.sample.per_domain(nats_D) for nats_D in nats_SD]
        found[name] = {
            "mean": round(float(sum(row.mean() for row in rows)) / len(rows), 4),
            "seeds": [round(float(row.mean()), 4) for row in rows],
            "domains": {
                domain: round(float(sum(row[place] for row in rows)) / len(rows), 4)
                for place, domain in enumerate(outcome.sample.domains)
            },
        }
    return found


def describe(plan: Plan) -> dict[str, object]:
    """Return the plan as plain JSON values."""
    config = plan.shape.config(plan.shape.vocab_size)
    return {
        "domains": plan.num_domains,
        "seeds": plan.num_seeds,
        "dense_steps": plan.dense_steps,
        "seed_steps": plan.seed_steps,
        "branch_steps": plan.branch_steps,
        "tokens_per_step": plan.tokens_per_step,
        "parameters": config.num_parameters(),
        "shape": asdict(plan.shape),
        "recipe": asdict(plan.recipe),
    }


def print_plan(plan: Plan, say: Say) -> None:
    """Say what will be done, before it is."""
    tokens = plan.dense_steps * plan.tokens_per_step
    minutes = plan.total_steps * plan.tokens_per_step / TOKENS_PER_CORE_SECOND / CORES / 60
    parameters = plan.shape.config(plan.shape.vocab_size).num_parameters()
    say(
        f"plan: {plan.num_domains} domains, {plan.num_seeds} seeds; every model has "
        f"{parameters:,} parameters and {tokens / 1e6:.1f} M training tokens behind it:\n"
        f"  dense {plan.dense_steps} steps; seed {plan.seed_steps} and "
        f"{plan.num_domains} x {plan.branch_steps} for the branches, the same again from the seed "
        f"on a random split; {plan.tokens_per_step} tokens a step\n"
        f"  training takes about {minutes:.0f} minutes on {CORES} cores at "
        f"{TOKENS_PER_CORE_SECOND} tokens per second each"
    )


def print_report(report: Mapping[str, object], say: Say) -> None:
    """Print bits per byte by rule and domain, then the ratios."""
    table = report["bits_per_byte"]
    accuracy = report["accuracy"]
    assert isinstance(table, dict)
    assert isinstance(accuracy, dict)
    domains = list(table["dense"]["domains"])
    width = max(8, *(len(name) for name in domains)) + 1
    say(f"{'bits per byte':18}{'mean':>8}{'right':>7}" + "".join(f"{d:>{width}}" for d in domains))
    for name, row in sorted(table.items(), key=lambda item: -item[1]["mean"]):
        right = f"{accuracy[name]:.3f}" if name in accuracy else ""
        cells = "".join(f"{row['domains'][domain]:{width}.3f}" for domain in domains)
        say(f"{name:18}{row['mean']:8.4f}{right:>7}{cells}  {FORWARD_PASSES.get(name, '')}")
    for key in RATIOS:
        found = report[key]
        assert isinstance(found, dict)
        say(f"{key:24} {found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}]")


def _documents(outcome: Outcome) -> dict[str, object]:
    test = outcome.material.test
    return {
        "test": len(test),
        "test_sources": len({each.source for each in test}),
        "scored_tokens": sum(len(each.ids) for each in test) - PREFIX_TOKENS * len(test),
        "scored_bytes": sum(each.num_bytes for each in test),
        "train_tokens": {
            name: sum(
                len(ids)
                for ids, document in zip(
                    outcome.material.train_tokens, outcome.material.corpus.train, strict=True
                )
                if document.domain == name
            )
            for name in outcome.material.domains
        },
    }
