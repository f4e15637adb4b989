"""The record of one measured statistic: value, method, sample size, null and interval.

Source: Efron (1979) for the bootstrap.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from constellation.records import Measurement

__all__ = [
    "INTERVAL_ITEMS_MIN",
    "RESAMPLES",
    "Measurement",
    "absent",
    "bootstrap_interval",
    "summary",
]

RESAMPLES: Final = 1000
"""Number of bootstrap resamples behind an interval."""


INTERVAL_ITEMS_MIN: Final = 8
"""Fewest items for a bootstrap interval; with fewer it would be far too narrow."""


def absent(reason: str) -> Measurement:
    """Return what stands for a statistic that could not be measured."""
    return Measurement(value=None, method=reason, n=0, null=None, interval=None)


def summary(
    measured: Sequence[Measurement],
    method: str,
    *,
    seed: int = 0,
    centre: Callable[[Sequence[float]], float] = statistics.fmean,
) -> Measurement:
    """Return the centre of those that have a value, with a bootstrap interval of their mean."""
    values = [each.value for each in measured if each.value is not None]
    nulls = [each.null for each in measured if each.value is not None and each.null is not None]
    return Measurement(
        value=centre(values) if values else None,
        method=method,
        n=len(values),
        null=statistics.fmean(nulls) if nulls else None,
        interval=bootstrap_interval(torch.tensor(values), seed),
    )


def bootstrap_interval(values: Tensor, seed: int) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of the mean of `values`; None for fewer than 8."""
    if len(values) < INTERVAL_ITEMS_MIN:
        return None
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(len(values), (RESAMPLES, len(values)), generator=generator)
    means = values.cpu().double()[index].mean(-1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=means.dtype)).tolist()
    return low, high
