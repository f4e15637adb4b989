"""Collective Phi: what kernels are worth together beyond the best of them.

    phi_bits = bpb(best single kernel) - bpb(constellation)

in bits per byte of held-out text. Two controls use the same kernels without knowing where a text
belongs: a kernel drawn at random for each document (its expectation, exactly), and the average of
all kernels' probabilities at each token. The best kernel is chosen on the very documents that are
scored, and anew in every bootstrap resample, which favours it: phi_bits errs to the low side.

"Emergent" is said where the whole interval of phi_bits is above 0, and means no more than that.

Shapes: N documents, M kernels, R rows: the documents as they are, then bootstrap resamples.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from constellation.kernel.measurement import Measurement, bootstrap_interval
from constellation.records import FloatArray
from training.evaluation.collective_scores import CollectiveScores
from training.evaluation.evaluate import BOOTSTRAP_DRAWS, INTERVAL_DOCUMENTS_MIN


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectivePhi:
    """Both senses of collective Phi, with the controls of the second. Differences in bits/byte."""

    phi_mean: Measurement
    """Mean integration of the kernels: a property of each, not of their being together."""
    phi_bits: Measurement
    """Functional integration: best single kernel minus constellation; `null`: random routing's."""
    random_routing: Measurement
    """Best single kernel minus one drawn at random per document."""
    uniform_ensemble: Measurement
    """Best single kernel minus the average of all kernels' probabilities."""
    over_random_routing: Measurement
    """Random routing minus constellation: what routing is worth."""
    over_uniform_ensemble: Measurement
    """Uniform ensemble minus constellation."""
    best_kernel: str
    """The single kernel that is best on these documents."""
    bits_per_byte: Mapping[str, float]
    """constellation, best_kernel, random_routing, uniform_ensemble."""

    @property
    def emergent(self) -> bool:
        """Whether the whole interval of phi_bits is above 0."""
        return self.phi_bits.interval is not None and self.phi_bits.interval[0] > 0

    @property
    def words(self) -> str:
        """The result as a sentence."""
        value = f"phi_bits is {self.phi_bits.value:+.4f} bits per byte"
        if self.phi_bits.interval is None:
            return f"{value}; {self.phi_bits.n} documents are too few for an interval"
        low, high = self.phi_bits.interval
        said = f"{value} ({low:+.4f} to {high:+.4f}, 95 %, {self.phi_bits.n} documents)"
        if self.emergent:
            return f"{said}: emergent, in that together they beat {self.best_kernel}, the best"
        if high < 0:
            return f"{said}: {self.best_kernel} alone beats the constellation"
        return f"{said}: no difference from {self.best_kernel} alone is shown"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, as `report.json` holds them."""
        return {**asdict(self), "emergent": self.emergent, "words": self.words}


def collective_phi(
    scores: CollectiveScores, phis: Sequence[Measurement], *, random_seed: int = 0
) -> CollectivePhi:
    """Judge kernels together.

    Args:
        scores: Held-out documents under every kernel.
        phis: Integration of each kernel; those without a value are left out of the mean.
        random_seed: Of the bootstrap, which is paired and over documents.

    Returns:
        Statistics. Fewer than 8 documents give no intervals, and then nothing is emergent.
    """
    bits_R = _bits_per_byte(scores, random_seed)
    num_documents = len(scores.num_bytes_N)

    def minus(larger: str, smaller: str, null: float | None = None) -> Measurement:
        return _difference(bits_R[larger] - bits_R[smaller], num_documents, larger, smaller, null)

    control = minus("best_kernel", "random_routing")
    best = int(scores.single_NM.sum(axis=0).argmin())
    return CollectivePhi(
        phi_mean=_mean(phis, random_seed),
        phi_bits=minus("best_kernel", "constellation", null=control.value),
        random_routing=control,
        uniform_ensemble=minus("best_kernel", "uniform_ensemble"),
        over_random_routing=minus("random_routing", "constellation"),
        over_uniform_ensemble=minus("uniform_ensemble", "constellation"),
        best_kernel=scores.kernels[best],
        bits_per_byte={name: float(values_R[0]) for name, values_R in bits_R.items()},
    )


def collective_report(
    scores: CollectiveScores, observables: Mapping[str, Mapping[str, Any]], *, random_seed: int = 0
) -> dict[str, Any]:
    """Return the section "collective" of `report.json`.

    Args:
        scores: Held-out documents under every kernel.
        observables: Kernel -> its measurements, as `table.json` holds them.
        random_seed: Of the bootstrap.
    """
    phis = [Measurement(**measured["phi"]) for measured in observables.values()]
    return collective_phi(scores, phis, random_seed=random_seed).to_dict()


def _bits_per_byte(scores: CollectiveScores, random_seed: int) -> dict[str, FloatArray]:
    """Return the bits per byte of every model in every row, each byte counting the same."""
    counts_RN = _counts(len(scores.num_bytes_N), random_seed)
    scale_R = np.log(2) * (counts_RN @ scores.num_bytes_N)
    return {
        "constellation": counts_RN @ scores.routed_N / scale_R,
        "best_kernel": (counts_RN @ scores.single_NM).min(axis=1) / scale_R,
        "random_routing": counts_RN @ scores.single_NM.mean(axis=1) / scale_R,
        "uniform_ensemble": counts_RN @ scores.ensemble_N / scale_R,
    }


def _counts(num_documents: int, random_seed: int) -> FloatArray:
    """Return how often each row counts each document: once, then as often as it was drawn."""
    draws_RN = np.random.default_rng(random_seed).integers(
        num_documents, size=(BOOTSTRAP_DRAWS, num_documents)
    )
    cells_RN = draws_RN + num_documents * np.arange(BOOTSTRAP_DRAWS)[:, None]
    drawn = np.bincount(cells_RN.ravel(), minlength=BOOTSTRAP_DRAWS * num_documents)
    return np.concatenate([np.ones((1, num_documents)), drawn.reshape(-1, num_documents)])


def _difference(
    values_R: FloatArray, num_documents: int, larger: str, smaller: str, null: float | None
) -> Measurement:
    interval = None
    if num_documents >= INTERVAL_DOCUMENTS_MIN:
        low, high = np.quantile(values_R[1:], [0.025, 0.975]).tolist()
        interval = (low, high)
    names = f"{larger} minus {smaller}".replace("_", " ")
    return Measurement(
        value=float(values_R[0]),
        method=f"{names}, bits per byte of held-out text; paired bootstrap over documents",
        n=num_documents,
        null=null,
        interval=interval,
    )


def _mean(phis: Sequence[Measurement], random_seed: int) -> Measurement:
    measured = [phi for phi in phis if phi.value is not None]
    values = [phi.value for phi in measured if phi.value is not None]
    nulls = [phi.null for phi in measured if phi.null is not None]
    return Measurement(
        value=statistics.fmean(values) if values else None,
        method="mean integration of the kernels; interval: bootstrap over kernels",
        n=len(values),
        null=statistics.fmean(nulls) if nulls else None,
        interval=bootstrap_interval(torch.tensor(values), random_seed),
    )
