"""Calibrate a table on held-out text: a temperature per rule, a radius per kernel and rule.

The temperature is the tau with the greatest likelihood of the true domain under
softmax(-d^2 / (2 tau^2)). A radius is the 0.99 quantile of the distances of a kernel's own
held-out texts; a query outside all radii is out of domain. Pure functions of arrays.

Shapes: K outcomes, M kernels, N held-out texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation.errors import ConfigError
from constellation.geometry.bearings import angle, bearing
from constellation.geometry.simplex import distance
from constellation.geometry.sites import BearingIndex, SiteIndex
from constellation.records import FloatArray, KernelSite, Refusal, Rule, Table

TEMPERATURE_RANGE = (0.01, 10.0)
"""Radians between which tau is sought. The ends mean "always the nearest" and "all alike"."""

TEXTS_MAX = 4_096
"""Held-out texts whose distances to all kernels are taken; more are thinned out evenly, kernel by
kernel, so that the time grows with the number of kernels and not with its square."""

_SEARCH_STEPS = 100
_BLOCK_ELEMENTS = 2**20


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
    """Held-out texts compared with every kernel: all, or `TEXTS_MAX` of them."""


def site_distances(
    basins_NK: FloatArray, sites: Sequence[KernelSite], *, background_K: FloatArray, rule: Rule
) -> FloatArray:
    """Return the distance of every text to every kernel under a rule.

    Texts without a bearing fall back to geodesic distances, as they do in routing. By matrix
    products, as routing does it: within 1e-13 of `distance` and `angle`.

    Returns:
        Radians, shape (N, M), in [0, pi].
    """
    site_index = SiteIndex.of(np.stack([site.basin_K for site in sites]))
    if rule is Rule.GEODESIC:
        return site_index.distances_of(basins_NK)
    bearings = BearingIndex.of(np.stack([site.bearing_K for site in sites]), background_K)
    bearing_NK = bearing(basins_NK, background_K)
    distances_NM = bearings.angles_of(bearing_NK)
    lost_N = ~bearing_NK.any(axis=1)
    distances_NM[lost_N] = site_index.distances_of(basins_NK[lost_N])
    return distances_NM


def own_distances(
    basins_NK: FloatArray, site: KernelSite, *, background_K: FloatArray, rule: Rule
) -> FloatArray:
    """Return the distances of texts to one kernel, shape (N,), as `site_distances` does."""
    geodesic_N: FloatArray = distance(basins_NK, site.basin_K)
    if rule is Rule.GEODESIC:
        return geodesic_N
    bearing_NK = bearing(basins_NK, background_K)
    angle_N = angle(bearing_NK, site.bearing_K)
    return np.where(bearing_NK.any(axis=1), angle_N, geodesic_N)


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
    order_N = np.argsort(own_N, kind="stable")
    texts_of = np.split(order_N, np.bincount(own_N, minlength=len(sites)).cumsum()[:-1])
    radii = {
        site.name: {
            rule: float(
                np.quantile(
                    own_distances(basins_NK[rows], site, background_K=background_K, rule=rule),
                    quantile,
                )
            )
            for rule in Rule
        }
        for site, rows in zip(sites, texts_of, strict=True)
    }
    kept_N = _thinned(texts_of)
    temperatures, accuracy = {}, {}
    for rule in Rule:
        distances_NM = site_distances(
            basins_NK[kept_N], sites, background_K=background_K, rule=rule
        )
        accuracy[rule] = float((distances_NM.argmin(axis=1) == own_N[kept_N]).mean())
        temperatures[rule] = fit_temperature(distances_NM, own_N[kept_N])
    return Calibration(
        temperatures=temperatures, radii=radii, accuracy=accuracy, num_texts=len(kept_N)
    )


def make_table(
    sites: Sequence[KernelSite],
    calibration: Calibration,
    *,
    background_K: FloatArray,
    coordizer_hash: str,
    version: int = 1,
    refusal: Refusal | None = None,
) -> Table:
    """Return a routing table whose sites have the calibrated radii, and its thresholds."""
    return Table(
        version=version,
        coordizer_hash=coordizer_hash,
        background_K=background_K,
        temperatures=calibration.temperatures,
        sites=tuple(replace(site, radii=calibration.radii[site.name]) for site in sites),
        refusal=refusal,
    )


def fit_temperature(distances_NM: FloatArray, own_N: NDArray[Any]) -> float:
    """Return the tau of the greatest likelihood of the own kernel, within `TEMPERATURE_RANGE`.

    The log likelihood is concave in beta = 1 / (2 tau^2). Its slope is the mean of d^2 under the
    softmax minus the mean of the own d^2, and its curvature the variance of d^2 under the softmax,
    negated: Newton's steps find the only maximum, and a step that leaves the bracket is halved.

    Args:
        distances_NM: Radians, shape (N, M).
        own_N: Column of each text's own kernel, shape (N,).
    """
    high, low = (1 / (2 * tau * tau) for tau in TEMPERATURE_RANGE)
    if _slope(distances_NM, own_N, low)[0] <= 0:
        return TEMPERATURE_RANGE[1]
    if _slope(distances_NM, own_N, high)[0] >= 0:
        return TEMPERATURE_RANGE[0]
    beta = sqrt(low * high)
    for _ in range(_SEARCH_STEPS):
        slope, variance = _slope(distances_NM, own_N, beta)
        low, high = (beta, high) if slope > 0 else (low, beta)
        wanted = beta + slope / variance if variance > 0 else high
        following = wanted if low < wanted < high else sqrt(low * high)
        if abs(following - beta) <= 1e-12 * beta:
            break
        beta = following
    return 1 / sqrt(2 * beta)


def _slope(distances_NM: FloatArray, own_N: NDArray[Any], beta: float) -> tuple[float, float]:
    """Return the first and the negated second derivative of the mean log likelihood by beta."""
    rows = max(1, _BLOCK_ELEMENTS // distances_NM.shape[1])
    slope = variance = 0.0
    for start in range(0, len(own_N), rows):
        square_NM = distances_NM[start : start + rows] ** 2
        own_square_N = square_NM[np.arange(len(square_NM)), own_N[start : start + rows]]
        # Measured from the least square, which keeps the exponentials in [0, 1].
        least_N = square_NM.min(axis=1)
        square_NM -= least_N[:, None]
        own_square_N -= least_N
        weight_NM = np.exp(-beta * square_NM)
        weight_NM /= weight_NM.sum(axis=1, keepdims=True)
        mean_N = (weight_NM * square_NM).sum(axis=1)
        slope += float((mean_N - own_square_N).sum())
        variance += float(((weight_NM * square_NM**2).sum(axis=1) - mean_N**2).sum())
    return slope / len(own_N), variance / len(own_N)


def _thinned(texts_of: Sequence[NDArray[np.intp]]) -> NDArray[np.intp]:
    """Return rows of the texts that are compared with every kernel, in order."""
    if sum(map(len, texts_of)) <= TEXTS_MAX:
        return np.sort(np.concatenate(texts_of))
    each = max(1, TEXTS_MAX // len(texts_of))
    kept = [rows[np.unique(np.linspace(0, len(rows) - 1, each).astype(int))] for rows in texts_of]
    return np.sort(np.concatenate(kept))


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
