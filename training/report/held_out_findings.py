"""Findings on held-out text: bits saved relative to the seed, and the value of routing."""

from training.evaluation.held_out_figures import INTERVAL_DOCUMENTS_MIN
from training.report.facts import Json, RunFacts
from training.report.verdicts import (
    Finding,
    Interval,
    count_of,
    pair,
    share_interval,
    side,
    span,
    verdict_of,
)

UNIT = "bits per byte"


def held_out_findings(facts: RunFacts) -> list[Finding]:
    """Return the findings that were measured on held-out text, the most important first."""
    held_out = facts.held_out
    found = [
        _seed_gain(held_out),
        _at_home(held_out),
        _elsewhere(facts.report or {}),
        _routing(held_out),
        _price_of_routing(held_out),
        _collective((facts.report or {}).get("collective")),
        _unigram(held_out),
    ]
    return [finding for finding in found if finding is not None]


def _difference(held_out: Json, larger: str, smaller: str) -> float | None:
    bits = held_out.get("bits_per_byte", {})
    if larger not in bits or smaller not in bits:
        return None
    return float(bits[larger] - bits[smaller])


def _interval(held_out: Json, key: str) -> Interval | None:
    """Return an interval; None when there are too few documents for a bootstrap."""
    few = held_out["num_documents"] < INTERVAL_DOCUMENTS_MIN
    return None if few else pair(held_out.get(key))


def _compared(
    held_out: Json, name: str, value: float, interval: Interval | None, verdict: str, sentence: str
) -> Finding:
    """Return a finding on a difference of bits per byte, which is held against no difference."""
    return Finding(
        name=name,
        value=value,
        unit=UNIT,
        interval=interval,
        null=0.0,
        null_name="no difference",
        n=held_out["num_documents"],
        n_unit="documents",
        verdict=verdict,
        sentence=sentence,
    )


def _seed_gain(held_out: Json) -> Finding | None:
    gain = _difference(held_out, "seed", "constellation")
    if gain is None:
        return None
    interval = _interval(held_out, "seed_minus_constellation_ci95")
    where = f"(95 % interval {span(interval, signed=True)}, {held_out['num_documents']} documents)"
    verdict, sentence = {
        "above": (
            "lower than the seed",
            f"The routed constellation needs {gain:.3f} bits per byte less than the seed that its "
            f"kernels started from {where}.",
        ),
        "below": (
            "higher than the seed",
            f"The routed constellation needs {-gain:.3f} bits per byte more than the seed that "
            f"its kernels started from {where}: specialisation made it worse.",
        ),
        "holds": (
            "no difference shown",
            "No difference between the routed constellation and its seed is shown: seed minus "
            f"constellation is {gain:+.3f} bits per byte {where}.",
        ),
        "unknown": (
            "not judged",
            f"Seed minus constellation is {gain:+.3f} bits per byte; without an interval nothing "
            "is concluded.",
        ),
    }[side(interval)]
    name = "seed minus routed constellation"
    return _compared(held_out, name, gain, interval, verdict, sentence)


def _at_home(held_out: Json) -> Finding | None:
    """Count the kernels that need significantly fewer bits than the seed on their own domain."""
    domains: Json = held_out.get("domains", {})
    if "seed" not in held_out.get("bits_per_byte", {}):
        return None
    sides = [side(values.get("seed_minus_own_ci95")) for values in domains.values()]
    lower, higher = sides.count("above"), sides.count("below")
    rest = [
        f"{count} {words}"
        for count, words in (
            (higher, "higher"),
            (sides.count("holds"), "without a difference shown"),
            (sides.count("unknown"), "with too few documents to judge"),
        )
        if count
    ]
    also = f" ({', '.join(rest)})" if rest else ""
    counted = count_of(lower, len(sides), "kernels")
    return Finding(
        name="kernels lower than the seed on their own domain",
        value=float(lower),
        n=len(sides),
        verdict=f"{lower} of {len(sides)}",
        sentence=f"On its own domain {counted} need{'s' if lower <= 1 else ''} fewer bits per byte "
        f"than the seed, with an interval above 0{also}.",
    )


def _elsewhere(report: Json) -> Finding | None:
    """Count the kernels that lost on other domains what they gained on their own."""
    gains = {
        name: values["other"]
        for name, values in (report.get("across") or {}).get("kernels", {}).items()
        if values["other"] is not None
    }
    if not gains:
        return None
    sides = [side(pair(values["gain_ci95"])) for values in gains.values()]
    lost, kept = sides.count("below"), sides.count("above")
    worse = count_of(lost, len(sides), "kernels")
    unknown = sides.count("unknown")
    also = f"; {kept} need fewer there too" if kept else ""
    also += f"; {unknown} with too few documents to judge" if unknown else ""
    return Finding(
        name="kernels higher than the seed on other domains",
        value=float(lost),
        n=len(sides),
        verdict=f"{lost} of {len(sides)}",
        sentence=f"On other domains {worse} need{'s' if lost <= 1 else ''} more bits per byte than "
        f"the seed, with an interval below 0{also}.",
    )


def _routing(held_out: Json) -> Finding | None:
    domains = held_out.get("domains", {})
    if len(domains) < 2 or "routing_accuracy" not in held_out:
        return None
    n = int(held_out["num_documents"])
    right = round(held_out["routing_accuracy"] * n)
    interval, chance = share_interval(right, n), 1 / len(domains)
    verdict = verdict_of(
        interval,
        above="better than chance",
        below="worse than chance",
        holds="no better than chance shown",
        reference=chance,
    )
    return Finding(
        name="documents routed to their own kernel",
        value=right / n,
        unit="share",
        interval=interval,
        null=chance,
        null_name="chance",
        n=n,
        n_unit="documents",
        verdict=verdict,
        sentence=f"From the first {held_out['prefix_tokens']} tokens {right} of {n} documents "
        f"({right / n:.1%}) are routed to their own kernel (95 % interval {interval[0]:.1%} to "
        f"{interval[1]:.1%}; chance {chance:.1%}): {verdict}.",
    )


def _price_of_routing(held_out: Json) -> Finding | None:
    price = _difference(held_out, "constellation", "oracle_label")
    if price is None or len(held_out.get("domains", {})) < 2:
        return None
    interval = _interval(held_out, "constellation_minus_oracle_ci95")
    where = f"{price:+.4f} bits per byte (95 % interval {span(interval, 4, signed=True)})"
    verdict, sentence = {
        "above": ("routing costs", f"Routing costs {where} against choosing kernels by label."),
        "below": ("routing gains", f"Routing beats choosing kernels by label: {where}."),
        "holds": (
            "no difference shown",
            f"Between routing and choosing kernels by label no difference is shown: {where}.",
        ),
        "unknown": (
            "not judged",
            f"Routing minus choosing kernels by label is {price:+.4f} bits per byte; without an "
            "interval nothing is concluded.",
        ),
    }[side(interval)]
    name = "routed constellation minus kernels by label"
    return _compared(held_out, name, price, interval, verdict, sentence)


def _collective(collective: Json | None) -> Finding | None:
    if collective is None:
        return None
    measured = collective["phi_bits"]
    interval = pair(measured["interval"])
    verdict = verdict_of(
        interval,
        above="emergent: better than the best kernel alone",
        below="the best kernel alone is better",
    )
    return Finding(
        name="best single kernel minus constellation",
        value=measured["value"],
        unit=UNIT,
        interval=interval,
        null=measured["null"],
        null_name="random routing",
        n=measured["n"],
        n_unit="documents",
        verdict=verdict,
        sentence=f"Collective Phi: {collective['words']}.",
    )


def _unigram(held_out: Json) -> Finding | None:
    """Compare the seed, or kernels that share none, with a unigram model."""
    model = "seed" if "seed" in held_out.get("bits_per_byte", {}) else "constellation"
    gain = _difference(held_out, "unigram", model)
    if gain is None:
        return None
    name = {"seed": "the seed", "constellation": "what was trained"}[model]
    interval = _interval(held_out, f"unigram_minus_{model}_ci95")
    verdict = verdict_of(
        interval, above="lower than counting tokens", below="higher than counting tokens"
    )
    sentence = (
        f"{name[0].upper()}{name[1:]} beside a unigram model: {verdict} (unigram minus "
        f"{name} {gain:+.3f} bits per byte, {span(interval, signed=True)})."
    )
    return _compared(held_out, f"unigram model minus {name}", gain, interval, verdict, sentence)
