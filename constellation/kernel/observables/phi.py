"""Phi: measure how strongly groups of a kernel's hidden units vary together, beyond chance.

A statistic with this definition, nothing more.

Shapes: T positions, D hidden units, G groups, K draws.
Sources: Watanabe (1960) for total correlation; Kunsch (1989) for the block jackknife.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from constellation.errors import ConfigError
from constellation.kernel.observables.measurement import Measurement

PHI_POSITIONS: Final = 256
"""T: fixed number of positions, because a total correlation's chance part depends on it."""

RIDGE: Final = 0.02
"""Share of the identity mixed into the correlation matrix, to keep its determinant above 0."""

JACKKNIFE_BLOCKS: Final = 16
"""Number of blocks of positions left out in turn: single positions are not independent."""


def phi_integration(
    hidden_TD: Tensor, *, num_groups: int = 8, num_nulls: int = 100, seed: int = 0
) -> Measurement:
    """Measure the integration of hidden units.

        Phi = 1 - exp(-2 max(0, TC - mean TC_null) / G),  TC = -1/2 ln det(0.98 R + 0.02 I)

    R correlates the first principal components of G groups of neighbouring units, each unit
    standardised over the positions. Nulls shuffle each component over the positions on its own,
    which keeps its values and breaks what it shares with others.

    Args:
        hidden_TD: Final hidden states of 256 positions of one text.
        num_groups: G, 2 to D.
        num_nulls: Shuffles, from 2.
        seed: Seed of the shuffles.

    Returns:
        A value in [0, 1): 0 when no group varies. `null` is the mean Phi of the shuffled states,
        `n` the number of positions. The interval is a jackknife over 16 blocks of positions; it
        holds for this text, not for others.

    Raises:
        ConfigError: If the shape, the numbers of groups or nulls, or a value is out of range.
    """
    _check_hidden(hidden_TD, num_groups, num_nulls)
    scores_GT = _first_components(hidden_TD.detach().double().cpu(), num_groups)
    total = float(_total_correlation(scores_GT))
    null_K = _total_correlation(_shuffled(scores_GT, num_nulls, seed))
    chance = float(null_K.mean())
    half = 1.96 * _jackknife_error(scores_GT)

    def phi(total_correlation: float) -> float:
        return -math.expm1(-2 * max(0.0, total_correlation - chance) / num_groups)

    return Measurement(
        value=phi(total),
        method=f"total correlation of {num_groups} groups' first components, minus shuffled",
        n=len(hidden_TD),
        null=statistics.fmean(phi(float(value)) for value in null_K),
        interval=(phi(total - half), phi(total + half)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PhiReference:
    """The robust scale of Phi of a frozen reference checkpoint over held-out texts."""

    median: float
    """Median Phi of the texts."""
    mad: float
    """Median absolute deviation from it, above 0."""
    checkpoint_hash: str
    """sha256 (hex) of the reference's weights."""
    num_texts: int
    """Texts measured."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.median) and math.isfinite(self.mad) and self.mad > 0):
            raise ConfigError(
                f"a Phi reference needs a finite median and a spread above 0, got {self.median} "
                f"and {self.mad}; measure more, and different, texts"
            )

    @classmethod
    def of(cls, phis: Sequence[float], *, checkpoint_hash: str) -> "PhiReference":
        """Return the scale of measured values, one per held-out text, at least 2."""
        if len(phis) < 2:
            raise ConfigError(f"a Phi reference needs at least 2 texts, got {len(phis)}")
        median = statistics.median(phis)
        mad = statistics.median(abs(phi - median) for phi in phis)
        return cls(median=median, mad=mad, checkpoint_hash=checkpoint_hash, num_texts=len(phis))

    @classmethod
    def where_spread(cls, phis: Sequence[float], *, checkpoint_hash: str) -> "PhiReference | None":
        """Return the scale as `of`; None for fewer than 2 values, or without a spread."""
        if len(phis) < 2:
            return None
        middle = statistics.median(phis)
        if statistics.median(abs(phi - middle) for phi in phis) == 0:
            return None
        return cls.of(phis, checkpoint_hash=checkpoint_hash)


def phi_gauge(phi: float, reference: PhiReference) -> float:
    """Return clip(0.80 + 0.025 z, 0, 1) with z = (phi - median) / (1.4826 MAD).

    0.75 to 0.85 means within two robust standard deviations of the reference.

    Raises:
        ConfigError: If `phi` is not a number.
    """
    if math.isnan(phi):
        raise ConfigError("phi is not a number; the kernel's hidden states are damaged")
    z = (phi - reference.median) / (1.4826 * reference.mad)
    return min(1.0, max(0.0, 0.80 + 0.025 * z))


def _check_hidden(hidden_TD: Tensor, num_groups: int, num_nulls: int) -> None:
    if hidden_TD.ndim != 2 or hidden_TD.shape[0] != PHI_POSITIONS:
        shape = tuple(hidden_TD.shape)
        raise ConfigError(f"hidden states have shape {shape}; allowed: ({PHI_POSITIONS}, units)")
    if not (2 <= num_groups <= hidden_TD.shape[1] and num_nulls >= 2):
        raise ConfigError(
            f"need 2 to {hidden_TD.shape[1]} groups and 2 nulls or more, "
            f"got {num_groups} and {num_nulls}"
        )
    if not torch.isfinite(hidden_TD).all():
        raise ConfigError("hidden states hold NaN or infinity")


def _standardised(values_T: Tensor) -> Tensor:
    """Return zero mean and unit variance along the last dimension; all zeros if constant."""
    centred = values_T - values_T.mean(-1, keepdim=True)
    deviation = centred.square().mean(-1, keepdim=True).sqrt()
    # Rounding leaves a constant with a deviation of about 1e-16 of its size.
    varies = deviation > 1e-9 * values_T.abs().amax(-1, keepdim=True)
    return torch.where(varies, centred / deviation.where(varies, 1.0), 0.0)


def _first_components(hidden_TD: Tensor, num_groups: int) -> Tensor:
    """Return the standardised first principal component of each group, shape (G, T)."""
    components = []
    for units_DT in _standardised(hidden_TD.T.contiguous()).tensor_split(num_groups):
        _, strengths, directions = torch.linalg.svd(units_DT, full_matrices=False)
        components.append(strengths[0] * directions[0])
    return _standardised(torch.stack(components))


def _total_correlation(scores_GT: Tensor) -> Tensor:
    """Return -1/2 ln det(0.98 R + 0.02 I), shape (...), in nats, of scores of shape (..., G, T)."""
    scores_GT = _standardised(scores_GT)
    correlation = scores_GT @ scores_GT.transpose(-1, -2) / scores_GT.shape[-1]
    identity = torch.eye(correlation.shape[-1], dtype=correlation.dtype)
    # A group without variance correlates with nothing, itself included: count it as independent.
    correlation = correlation + torch.diag_embed(1 - correlation.diagonal(dim1=-2, dim2=-1))
    _, log_det = torch.linalg.slogdet((1 - RIDGE) * correlation + RIDGE * identity)
    return torch.mul(log_det, -0.5)


def _shuffled(scores_GT: Tensor, num_nulls: int, seed: int) -> Tensor:
    """Return the scores, each group in its own random order, shape (K, G, T)."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(num_nulls, *scores_GT.shape, generator=generator).argsort(-1)
    return scores_GT.expand(num_nulls, -1, -1).gather(-1, order)


def _jackknife_error(scores_GT: Tensor) -> float:
    """Return the standard error of the total correlation by leaving out blocks of positions."""
    blocks = torch.arange(scores_GT.shape[-1]).tensor_split(JACKKNIFE_BLOCKS)
    kept = [torch.cat(blocks[:i] + blocks[i + 1 :]) for i in range(JACKKNIFE_BLOCKS)]
    values = torch.stack([_total_correlation(scores_GT[:, positions]) for positions in kept])
    return float((values - values.mean()).square().sum().mul(1 - 1 / JACKKNIFE_BLOCKS).sqrt())
