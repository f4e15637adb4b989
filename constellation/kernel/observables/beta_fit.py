"""Fit beta: the relative slope of the attention coupling over the logarithm of context length.

    kappa(L) = kappa_0 (1 + beta ln(L / L_ref))

Every document is measured at every length. Least squares is linear, so the line through the mean
couplings is the mean of the documents' own lines: with intercepts a_n and slopes s_n, kappa_0 is
the mean of a, and beta is the mean of s over the mean of a. Documents are the independent units;
lengths of one document are not, and the statistics never treat them so.

The interval is Fieller's for a ratio of two means, with Student's t. It is exact for normal
deviations at any number of documents, where a percentile bootstrap of eight documents holds the
truth too seldom; and it is finite exactly where the interval of kappa_0 lies above 0, which is the
condition under which beta means anything. The standard error is a bootstrap over documents.

Shapes: N documents, L context lengths, R resamples.
Sources: Fieller (1954), intervals of ratios; Efron (1979), the bootstrap.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from constellation.errors import ConfigError
from constellation.kernel.observables.measurement import RESAMPLES
from constellation.records import FloatArray

DOCUMENTS_MIN: Final = 3
"""Fewest documents for an interval: with 2, Student's t with 1 degree of freedom is 12.7."""

RESOLUTION_NATS: Final = 1e-4
"""Couplings below this are rounding noise: entropies are sums of thousands of float32 terms."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over documents, with its uncertainty."""

    value: float
    std_error: float
    """Standard error by a bootstrap over documents."""
    ci95: tuple[float, float]
    """Student's 95 % interval over documents."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BetaFit:
    """A line fitted to couplings at several lengths, relative to one reference length."""

    value: float | None
    """beta; None where it is undefined, because kappa_0 does not differ significantly from 0."""
    std_error: float | None
    """Standard error by a bootstrap over documents; None where beta is undefined."""
    ci95: tuple[float, float] | None
    """Fieller's interval of beta; None where beta is undefined."""
    r_squared: float | None
    """Share of the variance of the mean couplings that the line explains; None for two lengths,
    which every line passes through, and for couplings that are all equal."""
    p_value: float
    """Two-sided p-value of a slope of 0: Student's t test over the documents' slopes."""
    kappa_0: Estimate
    """Coupling at the reference length, nats."""
    slope: Estimate
    """d kappa / d ln L in nats: the raw slope, defined whatever kappa_0 is."""
    reference_length: int
    """L_ref, tokens."""

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def fit_beta(
    kappa_NL: FloatArray, lengths: Sequence[int], *, reference_length: int, seed: int = 0
) -> BetaFit:
    """Fit the change of the coupling with context length.

    Args:
        kappa_NL: Measured couplings in nats, documents by lengths; from 3 documents, 2 lengths.
        lengths: Context lengths in tokens, rising, shape (L,).
        reference_length: L_ref, from 1; chosen before looking, since beta depends on it.
        seed: Seed of the bootstrap.

    Raises:
        ConfigError: If a shape, a length or a coupling is out of range.
    """
    _check(kappa_NL, lengths, reference_length)
    log_L = np.log(np.asarray(lengths, dtype=np.float64) / reference_length)
    slope_N = kappa_NL @ (log_L - log_L.mean()) / np.square(log_L - log_L.mean()).sum()
    start_N = kappa_NL.mean(1) - slope_N * log_L.mean()
    draws_RN = np.random.default_rng(seed).integers(len(slope_N), size=(RESAMPLES, len(slope_N)))
    slope, kappa_0 = _estimate(slope_N, draws_RN), _estimate(start_N, draws_RN)
    defined = kappa_0.ci95[0] > RESOLUTION_NATS
    return BetaFit(
        value=slope.value / kappa_0.value if defined else None,
        std_error=_ratio_error(slope_N, start_N, draws_RN) if defined else None,
        ci95=_fieller(slope_N, start_N) if defined else None,
        r_squared=_r_squared(kappa_NL.mean(0), kappa_0.value + slope.value * log_L),
        p_value=_p_value(slope_N),
        kappa_0=kappa_0,
        slope=slope,
        reference_length=reference_length,
    )


def student_interval(values_N: FloatArray) -> tuple[float, float]:
    """Return the 95 % interval of a mean over independent documents, from 2 of them."""
    mean = float(values_N.mean())
    half = _quantile(len(values_N)) * _standard_error(values_N)
    return mean - half, mean + half


def _check(kappa_NL: FloatArray, lengths: Sequence[int], reference_length: int) -> None:
    if kappa_NL.ndim != 2 or kappa_NL.shape[0] < DOCUMENTS_MIN or kappa_NL.shape[1] < 2:
        raise ConfigError(
            f"couplings have shape {kappa_NL.shape}; need {DOCUMENTS_MIN} documents or more by "
            "2 context lengths or more"
        )
    rising = all(0 < low < high for low, high in pairwise(lengths))
    if len(lengths) != kappa_NL.shape[1] or not rising:
        raise ConfigError(f"context lengths are {list(lengths)}; give one per column, rising")
    if reference_length < 1:
        raise ConfigError(f"reference_length is {reference_length}; allowed: from 1")
    if not np.isfinite(kappa_NL).all():
        raise ConfigError("measured couplings hold NaN or infinity; the kernel's weights do too?")


def _estimate(values_N: FloatArray, draws_RN: NDArray[np.int64]) -> Estimate:
    return Estimate(
        value=float(values_N.mean()),
        std_error=float(values_N[draws_RN].mean(1).std(ddof=1)),
        ci95=student_interval(values_N),
    )


def _standard_error(values_N: FloatArray) -> float:
    return float(values_N.std(ddof=1) / math.sqrt(len(values_N)))


def _quantile(num_documents: int) -> float:
    return float(stdtrit(num_documents - 1, 0.975))


def _ratio_error(slope_N: FloatArray, start_N: FloatArray, draws_RN: NDArray[np.int64]) -> float:
    return float((slope_N[draws_RN].mean(1) / start_N[draws_RN].mean(1)).std(ddof=1))


def _fieller(slope_N: FloatArray, start_N: FloatArray) -> tuple[float, float]:
    """Return the interval of r for which mean(s) - r mean(a) does not differ significantly from 0.

    The ends are the roots of r^2 (a^2 - t^2 V_a) - 2 r (a s - t^2 V_as) + (s^2 - t^2 V_s), real
    because mean(s) / mean(a) lies between them, finite because a^2 > t^2 V_a was seen to.
    """
    covariance = np.cov(np.stack([start_N, slope_N])) / len(slope_N)
    t_squared = _quantile(len(slope_N)) ** 2
    start, slope = float(start_N.mean()), float(slope_N.mean())
    square = start**2 - t_squared * float(covariance[0, 0])
    cross = start * slope - t_squared * float(covariance[0, 1])
    constant = slope**2 - t_squared * float(covariance[1, 1])
    root = math.sqrt(max(0.0, cross**2 - square * constant))
    return (cross - root) / square, (cross + root) / square


def _r_squared(mean_L: FloatArray, line_L: FloatArray) -> float | None:
    total = float(np.square(mean_L - mean_L.mean()).sum())
    if len(mean_L) < 3 or total <= RESOLUTION_NATS**2:
        return None
    return 1 - float(np.square(mean_L - line_L).sum()) / total


def _p_value(slope_N: FloatArray) -> float:
    error, slope = _standard_error(slope_N), abs(float(slope_N.mean()))
    if error == 0:
        return 1.0 if slope == 0 else 0.0
    return float(2 * stdtr(len(slope_N) - 1, -slope / error))
