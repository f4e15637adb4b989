"""Ratios of bits per byte with paired 95 % intervals over documents and seeds.

In a draw, the test sources of every domain are drawn anew with replacement, the documents of a
source together, and so are the seeds; both sides of a ratio see the same draw. A domain with fewer
than five test sources (one long book, say) draws documents instead.

Shapes: B draws, S seeds, D documents, G domains, U units drawn as one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from constellation.records import FloatArray

DRAWS = 2000
SOURCES_MIN = 5


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Who is drawn, and how much text each is."""

    domains: tuple[str, ...]
    """Names, sorted."""
    bytes_D: FloatArray
    domain_D: NDArray[np.intp]
    """Number of each document's domain, 0 to G - 1."""
    unit_D: NDArray[np.intp]
    """Number of what each document is drawn with, 0 to U - 1."""

    @classmethod
    def of(
        cls, domains: Sequence[str], sources: Sequence[str], num_bytes: Sequence[int]
    ) -> "Sample":
        """Take documents by their domain, source and scored bytes."""
        names = sorted(set(domains))
        many = {
            name: len({s for s, d in zip(sources, domains, strict=True) if d == name})
            >= SOURCES_MIN
            for name in names
        }
        units = [
            (domain, source if many[domain] else str(place))
            for place, (domain, source) in enumerate(zip(domains, sources, strict=True))
        ]
        numbers = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
        return cls(
            domains=tuple(names),
            bytes_D=np.asarray(num_bytes, dtype=np.float64),
            domain_D=np.array([names.index(name) for name in domains]),
            unit_D=np.array([numbers[unit] for unit in units]),
        )

    def per_domain(self, nats_D: FloatArray) -> FloatArray:
        """Return bits per byte of each domain, shape (G,)."""
        bits_G = np.bincount(self.domain_D, nats_D) / np.log(2)
        per_byte_G: FloatArray = bits_G / np.bincount(self.domain_D, self.bytes_D)
        return per_byte_G

    def draw(self, num_draws: int, rng: np.random.Generator) -> FloatArray:
        """Return how often each document is in each draw, shape (B, D)."""
        counts_BU = np.zeros((num_draws, int(self.unit_D.max()) + 1))
        for domain in np.unique(self.domain_D):
            units = np.unique(self.unit_D[self.domain_D == domain])
            share = np.full(units.size, 1 / units.size)
            counts_BU[:, units] = rng.multinomial(units.size, share, num_draws)
        counts_BD: FloatArray = counts_BU[:, self.unit_D]
        return counts_BD


def ratio(
    sample: Sample, upper_SD: FloatArray, lower_SD: FloatArray, *, seed: int = 0
) -> dict[str, float]:
    """Return the ratio of two models' macro means of bits per byte, with its interval.

    Args:
        sample: The documents.
        upper_SD: Nats of each document under the model above the line, for each seed.
        lower_SD: Those of the model below it.
        seed: Of the draws.

    Returns:
        `value`, and `low` and `high`, the 2.5 and 97.5 percentiles over the draws; four digits.
    """
    rng = np.random.default_rng(seed)
    counts_BD = sample.draw(DRAWS, rng)
    num_seeds = len(upper_SD)
    seeds_BS = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), DRAWS)
    upper_BS, lower_BS = (_macro(sample, counts_BD, nats) for nats in (upper_SD, lower_SD))
    draws_B = (upper_BS * seeds_BS).sum(axis=1) / (lower_BS * seeds_BS).sum(axis=1)
    once_1D = np.ones((1, sample.bytes_D.size))
    value = _macro(sample, once_1D, upper_SD).sum() / _macro(sample, once_1D, lower_SD).sum()
    low, high = np.quantile(draws_B, (0.025, 0.975))
    return {
        "value": round(float(value), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


def _macro(sample: Sample, counts_BD: FloatArray, nats_SD: FloatArray) -> FloatArray:
    """Return the mean over domains of nats per byte in each draw, shape (B, S)."""
    member_DG = np.eye(int(sample.domain_D.max()) + 1)[sample.domain_D]
    bytes_BG = (counts_BD * sample.bytes_D) @ member_DG
    means = [(((counts_BD * nats_D) @ member_DG) / bytes_BG).mean(axis=1) for nats_D in nats_SD]
    return np.stack(means, axis=1)
