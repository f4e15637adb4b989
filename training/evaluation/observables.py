"""Measure Phi and kappa of trained kernels on held-out text, relative to their seed.

Integration (Phi) is measured on windows of each kernel's own domain; its gauge is read on the
robust scale of the seed over the same windows of all domains.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables import (
    PHI_POSITIONS,
    PhiReference,
    kappa_learned,
    kappa_measured,
    phi_gauge,
    phi_integration,
)
from constellation.kernel.observables.measurement import Measurement, absent, summary
from constellation.records import TokenArray
from training.evaluation.parallel import side_by_side

WINDOWS = 8
"""Number of held-out windows per domain; each counts as one text in the statistics."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """Measurements of every kernel and of the seed, as plain JSON values."""

    phi_gauges: dict[str, float]
    """Kernel -> gauge in [0, 1]; empty when the context is too short for Phi."""
    kernels: dict[str, dict[str, Any]]
    """Kernel -> its measurements."""
    seed: dict[str, Any] | None
    """The seed's measurements over the windows of all domains, and the scale they give; None
    when there is no seed."""


def observe(
    kernels: Mapping[str, Decoder],
    seed: Decoder | None,
    dev_streams: Mapping[str, TokenArray],
    *,
    seed_hash: str | None,
) -> Observed:
    """Measure Phi and kappa of kernels and their seed.

    Args:
        kernels: Name -> kernel.
        seed: The kernel that all started from, the reference. None when each started from its
            own weights.
        dev_streams: Name -> held-out tokens of its domain.
        seed_hash: sha256 (hex) of the seed's weights; None without a seed.

    Returns:
        Measurements. Without gauges when there is no seed, when the context holds fewer than 256
        tokens, or when too few windows exist to give the reference a spread.
    """
    windows = {name: _windows(stream) for name, stream in dev_streams.items()}
    possible = all(kernel.config.context >= PHI_POSITIONS for kernel in kernels.values())
    usable = {name: rows for name, rows in windows.items() if possible and len(rows)}
    own = {name: _phis(kernels[name], rows) for name, rows in usable.items()}
    base = [] if seed is None else [m for rows in usable.values() for m in _phis(seed, rows)]
    reference = None
    if seed_hash is not None:
        reference = PhiReference.where_spread(_values(base), checkpoint_hash=seed_hash)
    gauges = {
        name: phi_gauge(_median(measured), reference)
        for name, measured in own.items()
        if reference is not None
    }
    couplings = side_by_side(lambda name: _couplings(kernels[name], windows[name]), kernels)
    return Observed(
        phi_gauges=gauges,
        kernels={
            name: {
                "phi": _summary(own.get(name, [])).to_dict(),
                "phi_gauge": gauges.get(name),
                **coupling,
            }
            for name, coupling in zip(kernels, couplings, strict=True)
        },
        seed=None
        if seed is None
        else {"phi": _summary(base).to_dict(), "reference": _scale(reference)},
    )


def _windows(stream: TokenArray) -> Tensor:
    """Return up to `WINDOWS` windows of 256 tokens, spread evenly, shape (W, 256)."""
    num_windows = min(WINDOWS, len(stream) // PHI_POSITIONS)
    gap = len(stream) // max(1, num_windows)
    rows = [stream[i * gap : i * gap + PHI_POSITIONS] for i in range(num_windows)]
    return torch.tensor([row.tolist() for row in rows], dtype=torch.int64)


def _phis(decoder: Decoder, windows_WT: Tensor) -> list[Measurement]:
    @torch.inference_mode()
    def measure(window_T: Tensor) -> Measurement:
        return phi_integration(decoder.hidden(window_T[None])[0])

    return side_by_side(measure, windows_WT)


def _values(measured: Sequence[Measurement]) -> list[float]:
    return [m.value for m in measured if m.value is not None]


def _median(measured: Sequence[Measurement]) -> float:
    return statistics.median(_values(measured))


def _scale(reference: PhiReference | None) -> dict[str, float] | None:
    if reference is None:
        return None
    return {"median": reference.median, "mad": reference.mad, "n": reference.num_texts}


def _summary(measured: Sequence[Measurement]) -> Measurement:
    """Return the mean over texts with its interval."""
    if not _values(measured):
        return absent("needs texts of 256 tokens")
    return summary(measured, "mean over held-out windows; interval: bootstrap over them")


def _couplings(decoder: Decoder, windows_WT: Tensor) -> dict[str, Any]:
    measured = None
    if len(windows_WT):
        texts = windows_WT[:, : decoder.config.context]
        measured = kappa_measured(decoder, texts).to_dict()
    return {"kappa_learned": kappa_learned(decoder).to_dict(), "kappa_measured": measured}
