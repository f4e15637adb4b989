"""Measure a kernel's basin signature, and the distance of its basin from another signature's.

A kernel with a basin head gives the basin of every probe text itself. For a kernel without one, the
coordizer's basins of the probe texts are taken, and the signature is marked so.

Shapes: N texts, K outcomes, T tokens, W windows.
"""

import statistics
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ConfigError
from constellation.geometry import bearing, check_simplex, distance, hellinger_mean, log_map
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables.kappa import kappa_measured
from constellation.kernel.observables.measurement import (
    INTERVAL_ITEMS_MIN,
    RESAMPLES,
    Measurement,
    absent,
    summary,
)
from constellation.kernel.observables.phi import PHI_POSITIONS, phi_integration
from constellation.kernel.observables.probe_set import ProbeSet
from constellation.kernel.observables.signature import BasinSource, Signature
from constellation.records import FloatArray, TokenArray

WINDOWS: Final = 8
"""Largest number of windows of the probe texts for Phi and the measured coupling."""


def extract_signature(
    decoder: Decoder, coordizer: Coordizer, probe: ProbeSet, *, kernel_hash: str, seed: int = 0
) -> Signature:
    """Measure a kernel's signature on a probe set.

    The kernel is in evaluation mode; `kernel_hash` is the sha256 (hex) of its weights.

    Raises:
        ConfigError: If the basin head has other outcomes than the coordizer.
    """
    basins_NK = kernel_basins(decoder, coordizer, probe)
    mean_K = hellinger_mean(basins_NK)
    deviations_NK = log_map(mean_K[None], basins_NK)
    coupling = decoder.coupling
    windows_WT = _windows(probe.texts, min(PHI_POSITIONS, decoder.config.context))
    return Signature(
        kernel_hash=kernel_hash,
        coordizer_hash=coordizer.hash,
        probe_id=probe.id,
        num_texts=len(probe.texts),
        basin_source=basin_source(decoder, coordizer),
        basin_K=mean_K,
        spread_K=np.sqrt(np.square(deviations_NK).mean(axis=0)),
        bearing_K=bearing(mean_K, coordizer.background_K),
        kappa_NH=None if coupling is None else _numbers(coupling.log_kappa_NH.exp()),
        beta_NH=_slopes(decoder),
        kappa_measured=_coupling(decoder, windows_WT, seed),
        phi=_integration(decoder, windows_WT, seed),
    )


def basin_source(decoder: Decoder, coordizer: Coordizer) -> BasinSource:
    """Return whether a kernel's basins come from its basin head or from the coordizer.

    Raises:
        ConfigError: If the basin head has other outcomes than the coordizer.
    """
    outcomes = decoder.config.basin_outcomes
    if outcomes is None:
        return "coordizer"
    if outcomes != len(coordizer.background_K):
        raise ConfigError(
            f"the kernel's basin head has {outcomes} outcomes, the coordizer "
            f"{len(coordizer.background_K)}; give the coordizer that it was trained with"
        )
    return "basin head"


@torch.inference_mode()
def kernel_basins(decoder: Decoder, coordizer: Coordizer, probe: ProbeSet) -> FloatArray:
    """Return a kernel's basin of every probe text, shape (N, K), rows on the simplex.

    Raises:
        ConfigError: If the basin head has other outcomes than the coordizer.
    """
    if basin_source(decoder, coordizer) == "coordizer":
        return np.stack([coordizer.basin(ids) for ids in probe.texts])
    device = decoder.embedding.device
    rows = [
        decoder.basin(decoder.hidden(torch.as_tensor(ids, dtype=torch.int64, device=device)[None]))
        for ids in probe.texts
    ]
    basins_NK: FloatArray = check_simplex(torch.cat(rows).double().cpu().numpy())
    return basins_NK


def match_basin(
    decoder: Decoder,
    coordizer: Coordizer,
    probe: ProbeSet,
    target: Signature,
    *,
    seed: int = 0,
) -> Measurement:
    """Measure the distance of a kernel's basin on a probe set from that of a signature.

    Returns:
        Radians in [0, pi]; `null` is the distance of the background, the basin of a text without
        information; the interval is a bootstrap over texts. A distance cannot be below 0, so the
        interval of a perfect match does not hold 0: compare the value with `null`.

    Raises:
        ConfigError: If the signature is of another coordizer.
    """
    if target.coordizer_hash != coordizer.hash:
        raise ConfigError(
            "the signature is of another coordizer, whose outcomes mean other things; extract it "
            "again with this one"
        )
    basins_NK = kernel_basins(decoder, coordizer, probe)
    target_K, source = target.basin_K, basin_source(decoder, coordizer)
    return Measurement(
        value=float(distance(hellinger_mean(basins_NK), target_K)),
        method=f"Fisher-Rao distance of the mean basin ({source}) to the target",
        n=len(basins_NK),
        null=float(distance(coordizer.background_K, target_K)),
        interval=_distance_interval(basins_NK, target_K, seed),
    )


def _distance_interval(
    basins_NK: FloatArray, target_K: FloatArray, seed: int
) -> tuple[float, float] | None:
    if len(basins_NK) < INTERVAL_ITEMS_MIN:
        return None
    draws = np.random.default_rng(seed).integers(len(basins_NK), size=(RESAMPLES, len(basins_NK)))
    distances = [float(distance(hellinger_mean(basins_NK[rows]), target_K)) for rows in draws]
    low, high = np.quantile(distances, [0.025, 0.975]).tolist()
    return low, high


def _windows(texts: Sequence[TokenArray], length: int) -> Tensor:
    """Return the starts of up to 8 texts that are long enough, shape (W, T)."""
    rows = [ids[:length].tolist() for ids in texts if len(ids) >= length][:WINDOWS]
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), length)


def _slopes(decoder: Decoder) -> FloatArray | None:
    config, coupling = decoder.config, decoder.coupling
    if coupling is None or not config.running_coupling:
        return None
    if config.beta_frozen is None:
        return _numbers(coupling.beta_NH)
    return np.full(coupling.log_kappa_NH.shape, config.beta_frozen)


def _numbers(values: Tensor) -> FloatArray:
    numbers: FloatArray = values.detach().float().cpu().numpy().astype(np.float64)
    return numbers


def _coupling(decoder: Decoder, windows_WT: Tensor, seed: int) -> Measurement:
    if not len(windows_WT):
        return absent(f"no probe text has {windows_WT.shape[1]} tokens")
    return kappa_measured(decoder, windows_WT.to(decoder.embedding.device), seed=seed)


@torch.inference_mode()
def _integration(decoder: Decoder, windows_WT: Tensor, seed: int) -> Measurement:
    if not len(windows_WT) or windows_WT.shape[1] < PHI_POSITIONS:
        return absent(f"needs texts and a context of {PHI_POSITIONS} tokens")
    device = decoder.embedding.device
    measured = [
        phi_integration(decoder.hidden(window_T[None].to(device))[0], seed=seed)
        for window_T in windows_WT
    ]
    method = "median over texts; interval: bootstrap of their mean"
    return summary(measured, method, seed=seed, centre=statistics.median)
