"""Conclusions follow from the numbers, nulls included."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.training.report import invented
from training.report.facts import RunFacts
from training.report.summary import CAVEAT, summarise_run
from training.report.verdicts import Finding


def concluded(facts: RunFacts, samples: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Return the findings by name."""
    found = summarise_run(facts, samples)["findings"]
    return {finding["name"]: asdict(Finding(**finding)) for finding in found}


def with_held_out(tmp_path: Path, **changes: object) -> RunFacts:
    facts = invented.facts(tmp_path)
    assert facts.report is not None
    facts.report["held_out"].update(changes)
    return facts


@pytest.mark.parametrize(
    ("interval", "documents", "verdict", "words"),
    [
        ([0.1, 0.4], 20, "lower than the seed", "needs 0.250 bits per byte less than the seed"),
        ([-0.1, 0.4], 20, "no difference shown", "No difference between the routed constellation"),
        ([0.0, 0.4], 20, "no difference shown", "is shown"),
        ([-0.4, -0.1], 20, "higher than the seed", "specialisation made it worse"),
        ([0.1, 0.4], 7, "not judged", "without an interval nothing is concluded"),
        (None, 20, "not judged", "without an interval nothing is concluded"),
    ],
)
def test_the_seed_is_beaten_only_by_an_interval_above_0(
    tmp_path: Path, interval: list[float] | None, documents: int, verdict: str, words: str
) -> None:
    facts = with_held_out(tmp_path, seed_minus_constellation_ci95=interval, num_documents=documents)
    finding = concluded(facts)["seed minus routed constellation"]
    assert finding["verdict"] == verdict
    assert words in finding["sentence"]
    assert finding["value"] == 0.25


def test_a_gain_is_never_told_without_what_it_is_not(tmp_path: Path) -> None:
    assert summarise_run(invented.facts(tmp_path), None)["conclusion"][1] == CAVEAT


@pytest.mark.parametrize(
    ("right", "verdict"),
    [(0.9, "better than chance"), (0.5, "no better than chance shown"), (0.1, "worse than chance")],
)
def test_routing_is_held_against_chance(tmp_path: Path, right: float, verdict: str) -> None:
    found = concluded(with_held_out(tmp_path, routing_accuracy=right))
    routing = found["documents routed to their own kernel"]
    assert routing["verdict"] == verdict
    assert routing["null"] == 0.5


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ([0.01, 0.09], "routing costs"),
        ([-0.09, -0.01], "routing gains"),
        ([-0.01, 0.09], "no difference shown"),
    ],
)
def test_the_price_of_routing_is_judged_by_its_interval(
    tmp_path: Path, interval: list[float], verdict: str
) -> None:
    found = concluded(with_held_out(tmp_path, constellation_minus_oracle_ci95=interval))
    assert found["routed constellation minus kernels by label"]["verdict"] == verdict


def test_kernels_are_counted_by_their_intervals(tmp_path: Path) -> None:
    found = concluded(invented.facts(tmp_path))
    home = found["kernels lower than the seed on their own domain"]
    assert home["value"] == 1
    assert "1 of 2 kernels needs fewer" in home["sentence"]
    assert "1 without a difference shown" in home["sentence"]
    away = found["kernels higher than the seed on other domains"]
    assert (away["value"], away["verdict"]) == (1, "1 of 2")


def test_observables_are_held_against_their_nulls(tmp_path: Path) -> None:
    found = concluded(invented.facts(tmp_path))
    assert found["kernels with Phi above its null"]["verdict"] == "2 of 2"
    gauge = found["kernels with a Phi gauge within 0.75 to 0.85"]
    assert gauge["verdict"] == "1 inside, 1 above, 0 below"
    assert "no change of Phi is shown" in gauge["sentence"]
    assert found["kernels whose learned kappa left its start"]["verdict"] == "2 of 2"
    # Its interval holds the null: nothing is shown.
    assert found["kernels with measured kappa above its null"]["verdict"] == "0 of 2"


@pytest.mark.parametrize(
    ("fit", "verdict", "words"),
    [
        ({"value": 0.3, "ci95": [0.2, 0.4]}, "coupling grows with length", "+0.300"),
        ({"value": -0.3, "ci95": [-0.4, -0.2]}, "coupling falls with length", "-0.300"),
        ({"value": 0.1, "ci95": [-0.1, 0.3]}, "no running shown", "no running shown"),
        ({"value": None, "ci95": None}, "undefined", "beta is +0.312"),
    ],
)
def test_beta_is_undefined_null_or_judged_by_its_interval(
    tmp_path: Path, fit: dict[str, Any], verdict: str, words: str
) -> None:
    facts = invented.facts(tmp_path, beta={**invented.BETA, "beta_fit": fit})
    finding = concluded(facts)["beta, running of the coupling"]
    assert finding["verdict"] == verdict
    assert words in finding["sentence"]


def test_samples_are_judged_by_where_the_router_would_send_them(tmp_path: Path) -> None:
    rows = [
        {**sample, "routed_to": {"kernel": sample["domain"], "untrained": "elsewhere"}}
        for sample in invented.SAMPLES["samples"] * 10
    ]
    found = concluded(invented.facts(tmp_path), {**invented.SAMPLES, "samples": rows})
    by_kernels = found["samples by kernels routed to the prompt's domain"]
    assert (by_kernels["value"], by_kernels["verdict"]) == (1.0, "more often than chance")
    untrained = found["samples by an untrained network routed to the prompt's domain"]
    assert untrained["verdict"] == "less often than chance"
    assert "samples by the seed routed to the prompt's domain" not in found


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ([0.01, 0.2], "emergent: better than the best kernel alone"),
        ([-0.1, 0.2], "no difference shown"),
        ([-0.2, -0.1], "the best kernel alone is better"),
        (None, "not judged"),
    ],
)
def test_emergent_is_said_only_of_an_interval_above_0(
    tmp_path: Path, interval: list[float] | None, verdict: str
) -> None:
    facts = invented.facts(tmp_path)
    assert facts.report is not None
    phi_bits = {"value": 0.1, "interval": interval, "null": 0.0, "n": 20}
    facts.report["collective"] = {"phi_bits": phi_bits, "words": "as measured"}  # type: ignore[index]
    assert concluded(facts)["best single kernel minus constellation"]["verdict"] == verdict


def test_what_happened_and_what_failed_is_said(tmp_path: Path) -> None:
    facts = invented.facts(tmp_path, status={"kernels": {"sea": {"state": "FAILED"}}})
    told = " ".join(summarise_run(facts, None)["conclusion"])
    assert "Guards went back to an earlier checkpoint once." in told
    assert "Not finished: FAILED: sea." in told
    assert "Validation: 1 of 2 checks passed; failed: gradient." in told


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [([0.5, 0.75], "lower than counting tokens"), ([-0.5, 0.75], "no difference shown")],
)
def test_kernels_without_a_seed_are_held_against_counting(
    tmp_path: Path, interval: list[float], verdict: str
) -> None:
    bits = {"constellation": 1.5, "oracle_label": 1.5, "unigram": 2.0}
    domain = {"num_documents": 20, "bits_per_byte": bits, "seed_minus_own_ci95": None}
    facts = with_held_out(
        tmp_path,
        bits_per_byte=bits,
        seed_minus_constellation_ci95=None,
        unigram_minus_constellation_ci95=interval,
        domains={"all": {**domain, "routing_accuracy": 1.0, "routed_to": {"all": 20}}},
    )
    assert facts.report is not None
    facts.report["across"]["kernels"] = {}  # type: ignore[index]
    found = concluded(facts)
    assert found["unigram model minus what was trained"]["verdict"] == verdict
    assert not any("seed" in name for name in found)
    assert summarise_run(facts, None)["conclusion"][1] != CAVEAT


def test_without_measurements_nothing_is_concluded(tmp_path: Path) -> None:
    facts = invented.facts(tmp_path, report=None, beta=None, validation=None)
    summary = summarise_run(facts, None)
    assert summary["findings"] == []
    assert summary["conclusion"][0].startswith("Nothing was measured on held-out text")
    assert summary["not_measured"] == [
        "held-out figures",
        "samples",
        "validation",
        "beta, the running of the coupling",
    ]
