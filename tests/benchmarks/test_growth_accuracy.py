"""The benchmark of growth: its figures on domains that are easy to tell apart."""

from argparse import Namespace

import pytest

from benchmarks import growth_accuracy
from benchmarks.growth_accuracy import Corpus, differences, join_once, run_seed, summarise
from tests.domains.material import NAMES, texts


def corpus() -> Corpus:
    parts = [
        {name: [text for _, text in texts(name, count, seed=seed)] for name in NAMES}
        for seed, count in enumerate((12, 4, 6))
    ]
    return Corpus(*parts)


@pytest.mark.slow
def test_domains_that_join_are_routed_as_if_there_from_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(growth_accuracy, "LENGTHS", (8, 32))
    options = Namespace(start=None, queries=None, per_domain=20, frozen=True, basins_max=1)
    made = corpus()
    report = summarise([run_seed(made, options, seed=0)], made)
    for length in ("8", "32"):
        late, before = report[f"late.{length}"], report[f"late_from_start.{length}"]
        assert isinstance(late, float)
        assert isinstance(before, float)
        assert late > 0.7
        assert abs(late - before) < 0.15
        for key in ("early_before", "early_after", "early_from_start", "moved", "tfidf_late"):
            assert f"{key}.{length}" in report
        behind = report[f"late_behind.{length}"]
        assert behind == pytest.approx(before - late, abs=2e-4)
        assert f"early_behind.{length}" in report
    assert report["frozen_late.8"] != report["late.8"]
    assert report["num_domains"] == len(NAMES)


def test_differences_are_paired_by_seed_and_say_who_is_behind() -> None:
    seeds = [
        {
            "late.8": late,
            "late_from_start.8": late_from_start,
            "early_after.8": 0.7,
            "early_from_start.8": 0.72,
            "naive_bayes_late.8": late - 0.01,
            "tfidf_late.8": late - 0.04,
        }
        for late, late_from_start in ((0.5, 0.53), (0.9, 0.9), (0.7, 0.69))
    ]
    report = summarise([run | differences(run, ["8"]) for run in seeds], corpus())
    # The median of differences, not a difference of medians, which is -.01 here.
    assert report["late_behind.8"] == 0.0
    spread = report["spread"]
    assert isinstance(spread, dict)
    assert spread["late_behind.8"] == [-0.01, 0.03]
    assert report["early_behind.8"] == 0.02
    assert report["late_behind_naive_bayes.8"] == -0.01
    assert report["late_ahead_of_tfidf.8"] == 0.04


@pytest.mark.slow
def test_one_joining_is_timed() -> None:
    figures = join_once(corpus(), seed=0)
    assert 0 < figures["join_seconds"] < 60
    assert figures["join_processor_seconds"] > 0
