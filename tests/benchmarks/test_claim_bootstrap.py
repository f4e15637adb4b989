"""Intervals of ratios on planted scores."""

import numpy as np
import pytest

from benchmarks.claim.bootstrap import Sample, ratio
from constellation.records import FloatArray


def _sample(num_domains: int = 3, sources: int = 6, pieces: int = 2) -> Sample:
    rows = [
        (f"domain-{d}", f"source-{d}-{s}")
        for d in range(num_domains)
        for s in range(sources)
        for _ in range(pieces)
    ]
    num_bytes = np.random.default_rng(0).integers(500, 4000, len(rows)).tolist()
    return Sample.of([row[0] for row in rows], [row[1] for row in rows], num_bytes)


def _nats(sample: Sample, seed: int, num_seeds: int = 3) -> FloatArray:
    rng = np.random.default_rng(seed)
    return sample.bytes_D * rng.uniform(1.0, 2.0, (num_seeds, sample.bytes_D.size))


def test_a_model_that_is_always_so_much_better_has_a_ratio_without_spread() -> None:
    sample = _sample()
    nats_SD = _nats(sample, 0)
    found = ratio(sample, 0.9 * nats_SD, nats_SD)
    assert [found["value"], found["low"], found["high"]] == pytest.approx([0.9] * 3)


def test_domains_weigh_alike_whatever_their_size() -> None:
    sample = Sample.of(["a", "b"], ["a/1", "b/1"], [100, 100_000])
    upper_SD = np.array([[200.0, 100_000.0]])  # twice the bits in the small domain
    lower_SD = np.array([[100.0, 100_000.0]])
    assert ratio(sample, upper_SD, lower_SD)["value"] == pytest.approx(1.5)


@pytest.mark.parametrize("seed", range(5))
def test_the_value_lies_inside_its_interval(seed: int) -> None:
    sample = _sample()
    found = ratio(sample, _nats(sample, seed), _nats(sample, seed + 100))
    assert found["low"] < found["value"] < found["high"]


def test_seeds_that_differ_widen_the_interval() -> None:
    sample = _sample()
    nats_SD = _nats(sample, 0)
    alike = ratio(sample, 0.9 * nats_SD, nats_SD)
    apart = ratio(sample, np.array([[0.8], [0.9], [1.0]]) * nats_SD, nats_SD)
    assert apart["high"] - apart["low"] > alike["high"] - alike["low"] + 0.05


def test_documents_of_a_source_are_drawn_together() -> None:
    counts_BD = _sample(pieces=3).draw(200, np.random.default_rng(0))
    together = counts_BD.reshape(200, -1, 3)
    assert (together == together[:, :, :1]).all()
    assert (counts_BD.sum(axis=1) == counts_BD.shape[1]).all()


def test_a_domain_of_one_source_draws_documents() -> None:
    sample = Sample.of(["a"] * 8, ["book"] * 8, [1000] * 8)
    counts_BD = sample.draw(100, np.random.default_rng(0))
    assert counts_BD.std(axis=0).min() > 0
    assert (counts_BD.sum(axis=1) == 8).all()


def test_bits_per_byte_of_a_domain_are_its_nats_over_its_bytes() -> None:
    sample = Sample.of(["a", "a", "b"], ["1", "2", "3"], [10, 30, 20])
    bits_G = sample.per_domain(np.log(2) * np.array([20.0, 20.0, 60.0]))
    assert bits_G == pytest.approx([1.0, 3.0])
