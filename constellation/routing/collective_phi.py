"""Collective Phi: bits per byte that routed kernels (models) gain over the best single kernel.

    phi_bits = bpb(best single kernel) - bpb(constellation)

in bits per byte of texts that all kernels scored; higher is better for the constellation. Two
controls use the same kernels without routing: a kernel drawn at random for each text (its
expectation, exactly), and the average of all kernels' probabilities at each token. The best kernel
is chosen on the very texts that are scored, and anew in every bootstrap resample, which favours the
best kernel: phi_bits is biased downwards.

A result is called "emergent" when the whole interval of phi_bits is above 0, and the word means no
more than that. Held-out documents (`training/evaluation/collective.py`) and live prompts
(`actors/router/collective_phi.py`) are evaluated in the same way.

Shapes: N texts, M kernels, T tokens, R rows: the texts themselves, then bootstrap resamples.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from constellation.errors import ConfigError
from constellation.records import FloatArray, Measurement

BOOTSTRAP_DRAWS = 2000
"""Number of bootstrap resamples behind an interval."""

INTERVAL_TEXTS_MIN = 8
"""Least number of texts for a bootstrap interval; with fewer it would be far too narrow."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CollectiveScores:
    """Cross-entropy of texts under every kernel, routed and averaged; nats summed over tokens."""

    kernels: tuple[str, ...]
    """Names of the kernels, at least one."""
    single_NM: FloatArray
    """Nats of each text under each kernel."""
    routed_N: FloatArray
    """Nats of each text under the kernel it was routed to."""
    ensemble_N: FloatArray
    """Nats of each text under the average of all kernels' probabilities, token by token."""
    num_bytes_N: FloatArray
    """Bytes of the scored tokens of each text, above 0."""

    def __post_init__(self) -> None:
        num_texts, num_kernels = self.single_NM.shape
        if num_texts < 1 or num_kernels < 1 or num_kernels != len(self.kernels):
            raise ConfigError(
                f"scores of shape {self.single_NM.shape} do not fit {len(self.kernels)} kernels; "
                "need one document and one kernel or more"
            )
        for values_N in (self.routed_N, self.ensemble_N, self.num_bytes_N):
            if values_N.shape != (num_texts,) or not np.isfinite(values_N).all():
                raise ConfigError(f"need a finite score for each of {num_texts} documents")
        if not (np.isfinite(self.single_NM).all() and (self.num_bytes_N > 0).all()):
            raise ConfigError("scores must be finite, and every document must have bytes")


@dataclass(frozen=True, kw_only=True)
class Integration:
    """Collective Phi with its controls; differences in bits per byte."""

    phi_bits: Measurement
    """Collective Phi: best single kernel minus constellation; its `null` is the value of random
    routing."""
    random_routing: Measurement
    """Best single kernel minus a kernel drawn at random per text."""
    uniform_ensemble: Measurement
    """Best single kernel minus the average of all kernels' probabilities."""
    over_random_routing: Measurement
    """Random routing minus constellation: the gain of routing."""
    over_uniform_ensemble: Measurement
    """Uniform ensemble minus constellation."""
    best_kernel: str
    """Name of the single kernel with the fewest bits per byte on these texts."""
    bits_per_byte: dict[str, float]
    """Bits per byte of constellation, best_kernel, random_routing and uniform_ensemble."""

    @property
    def emergent(self) -> bool:
        """Whether the whole interval of phi_bits is above 0."""
        return is_emergent(self.phi_bits.interval)

    @property
    def words(self) -> str:
        """The result as a sentence for people."""
        phi = self.phi_bits
        assert phi.value is not None
        return in_words(phi.value, phi.interval, phi.n, self.best_kernel, unit="documents")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, in the form of `report.json`."""
        return {**asdict(self), "emergent": self.emergent, "words": self.words}


def is_emergent(interval: tuple[float, float] | None) -> bool:
    """Return whether the whole interval of phi_bits is above 0."""
    return interval is not None and interval[0] > 0


def in_words(
    phi_bits: float, interval: tuple[float, float] | None, n: int, best_kernel: str, *, unit: str
) -> str:
    """Return the result as a sentence for people.

    Args:
        phi_bits: The statistic, bits per byte.
        interval: 95 % interval of the statistic; None for too few texts.
        n: Number of texts.
        best_kernel: Name of the best single kernel.
        unit: Word for the texts, in the plural.
    """
    value = f"phi_bits is {phi_bits:+.4f} bits per byte"
    if interval is None:
        return f"{value}; {n} {unit} are too few for an interval"
    low, high = interval
    said = f"{value} ({low:+.4f} to {high:+.4f}, 95 %, {n} {unit})"
    if is_emergent(interval):
        return f"{said}: emergent, in that together they beat {best_kernel}, the best"
    if high < 0:
        return f"{said}: {best_kernel} alone beats the constellation"
    return f"{said}: no difference from {best_kernel} alone is shown"


def uniform_nats(single_MT: FloatArray) -> FloatArray:
    """Return the nats of each token under the kernels' averaged probabilities, shape (T,)."""
    mixed_T: FloatArray = np.log(len(single_MT)) - np.logaddexp.reduce(-single_MT, axis=0)
    return mixed_T


def integrate(scores: CollectiveScores, *, random_seed: int = 0) -> Integration:
    """Compute collective Phi and its controls from scores.

    Args:
        scores: Texts under every kernel.
        random_seed: Seed of the bootstrap, which is paired and over texts.

    Returns:
        The statistics. Fewer than 8 texts give no intervals, and then nothing is emergent.
    """
    bits_R = _bits_per_byte(scores, random_seed)
    num_texts = len(scores.num_bytes_N)

    def minus(larger: str, smaller: str, null: float | None = None) -> Measurement:
        return _difference(bits_R[larger] - bits_R[smaller], num_texts, larger, smaller, null)

    control = minus("best_kernel", "random_routing")
    best = int(scores.single_NM.sum(axis=0).argmin())
    return Integration(
        phi_bits=minus("best_kernel", "constellation", null=control.value),
        random_routing=control,
        uniform_ensemble=minus("best_kernel", "uniform_ensemble"),
        over_random_routing=minus("random_routing", "constellation"),
        over_uniform_ensemble=minus("uniform_ensemble", "constellation"),
        best_kernel=scores.kernels[best],
        bits_per_byte={name: float(values_R[0]) for name, values_R in bits_R.items()},
    )


def facts_of(integration: Integration) -> dict[str, Any]:
    """Return the fields of a result unchanged, for a statistic that extends it."""
    return {each.name: getattr(integration, each.name) for each in fields(Integration)}


def _bits_per_byte(scores: CollectiveScores, random_seed: int) -> dict[str, FloatArray]:
    """Return the bits per byte of every model in every row; each byte has the same weight."""
    counts_RN = _counts(len(scores.num_bytes_N), random_seed)
    scale_R = np.log(2) * (counts_RN @ scores.num_bytes_N)
    return {
        "constellation": counts_RN @ scores.routed_N / scale_R,
        "best_kernel": (counts_RN @ scores.single_NM).min(axis=1) / scale_R,
        "random_routing": counts_RN @ scores.single_NM.mean(axis=1) / scale_R,
        "uniform_ensemble": counts_RN @ scores.ensemble_N / scale_R,
    }


def _counts(num_texts: int, random_seed: int) -> FloatArray:
    """Return how often each row counts each text: once, then as often as the resample drew it."""
    draws_RN = np.random.default_rng(random_seed).integers(
        num_texts, size=(BOOTSTRAP_DRAWS, num_texts)
    )
    cells_RN = draws_RN + num_texts * np.arange(BOOTSTRAP_DRAWS)[:, None]
    drawn = np.bincount(cells_RN.ravel(), minlength=BOOTSTRAP_DRAWS * num_texts)
    return np.concatenate([np.ones((1, num_texts)), drawn.reshape(-1, num_texts)])


def _difference(
    values_R: FloatArray, num_texts: int, larger: str, smaller: str, null: float | None
) -> Measurement:
    interval = None
    if num_texts >= INTERVAL_TEXTS_MIN:
        low, high = np.quantile(values_R[1:], [0.025, 0.975]).tolist()
        interval = (low, high)
    names = f"{larger} minus {smaller}".replace("_", " ")
    return Measurement(
        value=float(values_R[0]),
        method=f"{names}, bits per byte of held-out text; paired bootstrap over documents",
        n=num_texts,
        null=null,
        interval=interval,
    )
