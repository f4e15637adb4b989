"""Calibrate a table on held-out text: a temperature per rule, a radius per kernel and rule.

The temperature is the tau with the greatest likelihood of the true domain under
softmax(-d^2 / (2 tau^2)). A radius is the 0.99 quantile of the distances of a kernel's own
held-out texts; a query outside all radii is out of domain. Pure functions of arrays.

Shapes: K outcomes, M kernels, N held-out texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation.errors import ConfigError
from constellation.geometry.bearings import angle, bearing
from constellation.geometry.simplex import pairwise_distances
from constellation.records import FloatArray, KernelSite, Rule, Table

TEMPERATURE_RANGE = (0.01, 10.0)
"""Radians between which tau is sought. The ends mean "always the nearest" and "all alike"."""

_GOLDEN = (5**0.5 - 1) / 2
_SEARCH_STEPS = 60
_BLOCK_TEXTS = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What held-out text says about a set of sites."""

    temperatures: Mapping[Rule, float]
    """tau in radians per rule."""
    radii: Mapping[str, Mapping[Rule, float]]
    """Kernel -> rule -> radius in radians."""
    accuracy: Mapping[Rule, float]
    """Share of the held-out texts whose nearest kernel is their own."""
    num_texts: int
    """Held-out texts used."""


def site_distances(
    basins_NK: FloatArray, sites: Sequence[KernelSite], *, background_K: FloatArray, rule: Rule
) -> FloatArray:
    """Return the distance of every text to every kernel under a rule.

    Texts without a bearing fall back to geodesic distances, as they do in routing.

    Returns:
        Radians, shape (N, M), in [0, pi].
    """
    site_basins_MK = np.stack([site.basin_K for site in sites])
    if rule is Rule.GEODESIC:
        geodesic_NM: FloatArray = pairwise_distances(basins_NK, site_basins_MK)
        return geodesic_NM
    site_bearings_MK = np.stack([site.bearing_K for site in sites])
    bearing_NK = bearing(basins_NK, background_K)
    blocks = [
        angle(bearing_NK[start : start + _BLOCK_TEXTS, None], site_bearings_MK[None])
        for start in range(0, max(1, len(basins_NK)), _BLOCK_TEXTS)
    ]
    distances_NM: FloatArray = np.concatenate(blocks)
    lost_N = ~bearing_NK.any(axis=1)
    distances_NM[lost_N] = pairwise_distances(basins_NK[lost_N], site_basins_MK)
    return distances_NM


def calibrate(
    sites: Sequence[KernelSite],
    basins_NK: FloatArray,
    labels: Sequence[str],
    *,
    background_K: FloatArray,
    quantile: float = 0.99,
) -> Calibration:
    """Fit temperatures and radii on held-out texts.

    Args:
        sites: The kernels.
        basins_NK: Basins of texts that no kernel's basin was made of.
        labels: The kernel each text belongs to; every kernel needs at least one.
        background_K: The table's pi.
        quantile: Share of a kernel's own texts that its radius holds, in (0, 1].

    Raises:
        ConfigError: When lengths differ, a label is no kernel, or a kernel has no text.
    """
    own_N = _own_columns(sites, basins_NK, labels, quantile)
    temperatures, accuracy = {}, {}
    radii: dict[str, dict[Rule, float]] = {site.name: {} for site in sites}
    for rule in Rule:
        distances_NM = site_distances(basins_NK, sites, background_K=background_K, rule=rule)
        temperatures[rule] = fit_temperature(distances_NM, own_N)
        accuracy[rule] = float((distances_NM.argmin(axis=1) == own_N).mean())
        for column, site in enumerate(sites):
            own_distances = distances_NM[own_N == column, column]
            radii[site.name][rule] = float(np.quantile(own_distances, quantile))
    return Calibration(
        temperatures=temperatures, radii=radii, accuracy=accuracy, num_texts=len(labels)
    )


def make_table(
    sites: Sequence[KernelSite],
    calibration: Calibration,
    *,
    background_K: FloatArray,
    coordizer_hash: str,
    version: int = 1,
) -> Table:
    """Return a routing table whose sites have the calibrated radii."""
    return Table(
        version=version,
        coordizer_hash=coordizer_hash,
        background_K=background_K,
        temperatures=calibration.temperatures,
        sites=tuple(replace(site, radii=calibration.radii[site.name]) for site in sites),
    )


def fit_temperature(distances_NM: FloatArray, own_N: NDArray[Any]) -> float:
    """Return the tau of the greatest likelihood of the own kernel.

    The log likelihood is concave in 1 / (2 tau^2), so a golden-section search over log tau finds
    the only maximum; it stays within `TEMPERATURE_RANGE`.

    Args:
        distances_NM: Radians, shape (N, M).
        own_N: Column of each text's own kernel, shape (N,).
    """
    low, high = (log(end) for end in TEMPERATURE_RANGE)
    for _ in range(_SEARCH_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if _log_likelihood(distances_NM, own_N, left) < _log_likelihood(distances_NM, own_N, right):
            low = left
        else:
            high = right
    return float(np.exp((low + high) / 2))


def _log_likelihood(distances_NM: FloatArray, own_N: NDArray[Any], log_tau: float) -> float:
    energy_NM = distances_NM**2 / (-2 * np.exp(2 * log_tau))
    top_N = energy_NM.max(axis=1)
    total_N = top_N + np.log(np.exp(energy_NM - top_N[:, None]).sum(axis=1))
    return float((energy_NM[np.arange(own_N.size), own_N] - total_N).mean())


def _own_columns(
    sites: Sequence[KernelSite], basins_NK: FloatArray, labels: Sequence[str], quantile: float
) -> NDArray[np.intp]:
    if len(labels) != len(basins_NK) or not 0 < quantile <= 1:
        raise ConfigError(
            f"{len(basins_NK)} basins need as many labels and a quantile in (0, 1], got "
            f"{len(labels)} and {quantile}"
        )
    columns = {site.name: column for column, site in enumerate(sites)}
    unknown, missing = set(labels) - set(columns), set(columns) - set(labels)
    if unknown or missing:
        raise ConfigError(
            "held-out texts must cover the kernels; "
            f"without a text: {sorted(missing)}; without a kernel: {sorted(unknown)}"
        )
    return np.array([columns[label] for label in labels], dtype=np.intp)
