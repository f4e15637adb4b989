"""Figures of refusal: what thresholds refuse of in-domain and of foreign queries.

The keys are described in `benchmarks.refusal`. Letters: N queries, S shares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

SHARES = (0.01, 0.05)
LENGTHS = (8, 16, 32, 64, 128)
LENGTHS_AT_MOST = (4, 6, 8, 11, 16, 32, 64, 128)
"""Tokens of a query at most, of the groups of `by_length`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a table said of some queries, one row each."""

    distance_N: np.ndarray
    """To the nearest kernel, radians."""
    beyond_NS: np.ndarray
    """Whether it was refused, for every share of `SHARES`."""
    excess_NS: np.ndarray
    """Distance less the radius at every share: how far out of domain it is, radians."""
    length_N: np.ndarray
    """Tokens."""
    kernels: list[str]

    def excess(self) -> np.ndarray:
        """Return the excess at the last share, shape (N,)."""
        last_N: np.ndarray = self.excess_NS[:, -1]
        return last_N


def compare(own: Asked, foreign: Asked, labels: Sequence[str]) -> dict[str, Any]:
    """Return the figures of one setting and seed."""
    hit_N = np.array([kernel == label for kernel, label in zip(own.kernels, labels, strict=True)])
    names = sorted(set(labels))
    of_name = [np.array([label == name for label in labels]) for name in names]
    per_kernel = [own.beyond_NS[rows].mean(axis=0) for rows in of_name]
    cut = [float(np.quantile(own.distance_N, 1 - share)) for share in SHARES]
    return {
        "refused_in": dict(zip(SHARES, own.beyond_NS.mean(axis=0).tolist(), strict=True)),
        "caught_out": dict(zip(SHARES, foreign.beyond_NS.mean(axis=0).tolist(), strict=True)),
        "caught_at": {
            share: caught_at(own.excess_NS[:, place], foreign.excess_NS[:, place], share)
            for place, share in enumerate(SHARES)
        },
        "auroc": auroc(own.excess(), foreign.excess()),
        "by_length": by_length(own, foreign),
        "perfect": {
            share: float((foreign.distance_N > at).mean())
            for share, at in zip(SHARES, cut, strict=True)
        },
        "perfect_auroc": auroc(own.distance_N, foreign.distance_N),
        "accuracy": float(hit_N.mean()),
        "refused_in_by_kernel": {
            share: {
                "least": float(min(row[place] for row in per_kernel)),
                "most": float(max(row[place] for row in per_kernel)),
            }
            for place, share in enumerate(SHARES)
        },
        "queries": [len(own.kernels), len(foreign.kernels)],
    }


def cut_at(own_N: np.ndarray, share: float) -> float:
    """Return the excess beyond which that share of in-domain queries lies, or the next less."""
    refused = int(share * len(own_N) + 1e-9)
    return float(np.sort(own_N)[len(own_N) - refused - 1])


def caught_at(own_N: np.ndarray, foreign_N: np.ndarray, share: float) -> float:
    """Return the share of foreign queries beyond the cut that refuses a share of one's own.

    Args:
        own_N: Excess of in-domain queries, radians.
        foreign_N: That of foreign queries.
        share: Of in-domain queries that are refused, [0, 1).
    """
    return float((foreign_N > cut_at(own_N, share)).mean())


def by_length(own: Asked, foreign: Asked) -> dict[str, dict[str, float]]:
    """Return the figures of queries of like length, at the cut that refuses `SHARES[-1]` of all.

    Lengths that only in-domain or only foreign queries have are left out.
    """
    cut = cut_at(own.excess(), SHARES[-1])
    found = {}
    for more_than, most in pairwise((0, *LENGTHS_AT_MOST)):
        rows = [(more_than < each.length_N) & (each.length_N <= most) for each in (own, foreign)]
        parts = [each.excess()[row] for each, row in zip((own, foreign), rows, strict=True)]
        if all(map(len, parts)):
            found[str(most)] = {
                "queries_in": float(len(parts[0])),
                "queries_out": float(len(parts[1])),
                "refused_in": float((parts[0] > cut).mean()),
                "caught_out": float((parts[1] > cut).mean()),
                "auroc": auroc(parts[0], parts[1]),
            }
    return found


def auroc(own_N: np.ndarray, foreign_N: np.ndarray) -> float:
    """Return how often a foreign query lies further out than one's own; ties count half."""
    order = np.sort(own_N)
    below = np.searchsorted(order, foreign_N, side="left")
    equal = np.searchsorted(order, foreign_N, side="right") - below
    return float((below + equal / 2).mean() / len(order))


def mean_of(runs: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    """Return the mean of every figure over the seeds, and the values of each seed where it says."""
    found: dict[str, Any] = {}
    for key in dict.fromkeys(key for run in runs for key in run):
        values = [run[key] for run in runs if key in run]
        first = values[0]
        if isinstance(first, Mapping):
            found[str(key)] = mean_of(values)
        elif isinstance(first, list):
            found[str(key)] = first
        else:
            found[str(key)] = round(float(np.mean(values)), 4)
    return found
