"""The record of one measured statistic: value, method, sample size, null and interval.

Source: Efron (1979) for the bootstrap.
"""

from typing import Final

import torch
from torch import Tensor

from constellation.records import Measurement

__all__ = ["INTERVAL_ITEMS_MIN", "RESAMPLES", "Measurement", "bootstrap_interval"]

RESAMPLES: Final = 1000
"""Number of bootstrap resamples behind an interval."""


INTERVAL_ITEMS_MIN: Final = 8
"""Fewest items for a bootstrap interval; with fewer it would be far too narrow."""


def bootstrap_interval(values: Tensor, seed: int) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of the mean of `values`; None for fewer than 8."""
    if len(values) < INTERVAL_ITEMS_MIN:
        return None
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(len(values), (RESAMPLES, len(values)), generator=generator)
    means = values.cpu().double()[index].mean(-1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=means.dtype)).tolist()
    return low, high
