"""What every observable exports: value, method, sample size, null and interval.

Source: Efron (1979) for the bootstrap.
"""

from dataclasses import asdict, dataclass
from typing import Final

import torch
from torch import Tensor

RESAMPLES: Final = 1000
"""Bootstrap resamples behind an interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One measured statistic."""

    value: float | None
    """The statistic; None where it is undefined."""
    method: str
    """How it was computed, in words."""
    n: int
    """Independent units behind it: positions, texts or heads, as the method says."""
    null: float | None
    """The same statistic where the effect is absent by construction."""
    interval: tuple[float, float] | None
    """95 % interval of the value; None where it cannot be given."""

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def bootstrap_interval(values: Tensor, seed: int) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of the mean of `values`; None for a single one."""
    if len(values) < 2:
        return None
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(len(values), (RESAMPLES, len(values)), generator=generator)
    means = values.cpu().double()[index].mean(-1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=means.dtype)).tolist()
    return low, high
