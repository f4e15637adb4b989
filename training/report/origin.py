"""Collect what a run was made from and what it used, from the files of its folder."""

from typing import Any

from training.report.facts import Json, RunFacts


def provenance(facts: RunFacts) -> dict[str, Any]:
    """Return recipe, random seed, versions and data hashes, where they are known."""
    report, run = facts.report or {}, facts.run or {}
    recipe = facts.recipe
    data = run.get("data") or {}
    splits = (data.get("manifest") or report.get("corpus") or {}).get("splits") or {}
    return {
        "recipe": recipe or None,
        "mode": run.get("mode") or recipe.get("mode"),
        "run_key": run.get("run_key"),
        "random_seed": recipe.get("seed"),
        "versions": dict(run.get("versions") or {}),
        "machine": {**(report.get("machine") or {}), **(run.get("machine") or {})},
        "data": {
            name: {key: values.get(key) for key in ("sha256", "num_documents", "num_bytes")}
            for name, values in splits.items()
        },
        "hashes": {name: data[name] for name in ("coordizer_sha256", "tokens_sha256") if data},
        "domains": {
            name: values["num_bytes"]
            for name, values in (splits.get("train") or {}).get("domains", {}).items()
        },
    }


def spending(facts: RunFacts) -> dict[str, Any]:
    """Return the time of every part, the training tokens, and the budget with its use."""
    seconds = (facts.report or {}).get("seconds") or {
        name: entry["seconds"] for name, entry in (facts.ledger or {}).items()
    }
    curves = {} if facts.history is None else facts.history.curves
    last = {name: curve.reports[-1] for name, curve in curves.items()}
    reported = {name: report.tokens for name, report in last.items() if report.tokens}
    tokens: Json = (facts.usage or {}).get("tokens") or reported
    memory = [report.memory_bytes for report in last.values() if report.memory_bytes]
    limits = facts.recipe.get("budget") or {}
    return {
        "seconds": dict(seconds),
        "seconds_total": sum(seconds.values()) if seconds else None,
        "tokens": dict(tokens),
        "tokens_total": sum(tokens.values()) if tokens else None,
        "memory_bytes_max": max(memory, default=None),
        "budget": {name: limit for name, limit in limits.items() if limit is not None},
        "used": _used(facts.usage, limits),
    }


def _used(usage: Json | None, limits: Json) -> dict[str, float]:
    """Return the use of every budget that has a limit, in the budget's unit."""
    if usage is None:
        return {}
    hours = usage["seconds"] / 3600
    used = {
        "tokens": float(sum(usage["tokens"].values())),
        "minutes": 60 * hours,
        "cost": hours * (limits.get("price_per_hour") or 0.0),
    }
    return {name: amount for name, amount in used.items() if limits.get(name) is not None}
