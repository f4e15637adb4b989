"""Calibrate a routing table on held-out text: temperatures of weights, radii of kernels (models).

The temperature of a rule is the tau that maximises the likelihood of the true domain under
softmax(-d^2 / (2 tau^2)). A kernel's radius under a rule is the 0.99 quantile of the distances of
its own held-out texts; in tables without thresholds a query outside all radii is out of domain.
Pure functions of arrays.

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
from constellation.geometry.simplex import pairwise_distances
from constellation.records import FloatArray, KernelSite, Refusal, Rule, Table
from constellation.routing.nearest_kernels import KernelIndex, family_name

TEMPERATURE_RANGE = (0.01, 10.0)
"""Radians between which tau is searched: with the smallest value the nearest kernel gets all
weight, with the largest all kernels get equal weights."""

TEXTS_MAX = 4_096
"""Most held-out texts compared with all kernels; of more texts, each kernel contributes an equal
number at even steps, so that the time grows with the number of kernels and not with its square."""

_SEARCH_STEPS = 100
_BLOCK_ELEMENTS = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Result of calibrating a set of kernels on held-out text."""

    temperatures: Mapping[Rule, float]
    """Rule -> tau in radians."""
    radii: Mapping[str, Mapping[Rule, float]]
    """Kernel -> rule -> radius in radians."""
    accuracy: Mapping[Rule, float]
    """Rule -> share of the held-out texts whose nearest kernel is their own; higher is better."""
    num_texts: int
    """Number of held-out texts compared with every kernel, at most about `TEXTS_MAX`."""
    arrived: Mapping[str, "Arrived"]
    """Kernel -> number of its own held-out texts whose nearest kernel, by the bearing rule, is this
    kernel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrived:
    """Number of a kernel's held-out texts whose nearest kernel is this kernel.

    The members of a family share their texts: a text of one member counts for all members, and
    arrives when its nearest kernel is of the family.
    """

    num_arrived: int
    num_texts: int
    """Number of texts compared, at least 1."""

    @property
    def share(self) -> float:
        """Share of the texts that arrived, [0, 1]; higher is better."""
        return self.num_arrived / self.num_texts


def site_distances(
    basins_NK: FloatArray, sites: Sequence[KernelSite], *, background_K: FloatArray, rule: Rule
) -> FloatArray:
    """Return the distance of every text to every kernel under a rule, as routing measures it.

    For texts without a bearing, geodesic distances are used, as in routing. Computed by matrix
    products, as in routing: within 1e-13 of `distance` and `angle`.

    Returns:
        Radians to the nearest basin of each kernel, shape (N, M), in [0, pi].
    """
    return KernelIndex(sites, background_K).distances_of(basins_NK, rule)


def own_distances(
    basins_NK: FloatArray, site: KernelSite, *, background_K: FloatArray, rule: Rule
) -> FloatArray:
    """Return the distances of texts to one kernel, shape (N,), as `site_distances` does."""
    geodesic_N: FloatArray = pairwise_distances(basins_NK, site.basins_BK).min(axis=1)
    if rule is Rule.GEODESIC:
        return geodesic_N
    bearing_NK = bearing(basins_NK, background_K)
    angle_BN = np.stack([angle(bearing_NK, bearing_K) for bearing_K in site.bearings_BK])
    return np.where(bearing_NK.any(axis=1), angle_BN.min(axis=0), geodesic_N)


def calibrate(
    sites: Sequence[KernelSite],
    basins_NK: FloatArray,
    labels: Sequence[str],
    *,
    background_K: FloatArray,
    quantile: float = 0.99,
) -> Calibration:
    """Fit temperatures and radii on held-out texts.

    The members of a family are calibrated as one kernel, so their radii are equal.

    Args:
        sites: Rows of the kernels.
        basins_NK: Basins of held-out texts, which no kernel's basin was computed from.
        labels: Name of the kernel each text belongs to; every kernel, or its family, needs at least
            one text.
        background_K: The table's pi.
        quantile: Share of a kernel's own texts within its radius, in (0, 1].

    Raises:
        ConfigError: Lengths differ, a label is not a kernel, or a kernel has no text.
    """
    heads, column_of = _families(sites)
    own_N = _own_columns(column_of, basins_NK, labels, quantile)
    order_N = np.argsort(own_N, kind="stable")
    texts_of = np.split(order_N, np.bincount(own_N, minlength=len(heads)).cumsum()[:-1])
    radii = [
        {
            rule: float(
                np.quantile(
                    own_distances(basins_NK[rows], site, background_K=background_K, rule=rule),
                    quantile,
                )
            )
            for rule in Rule
        }
        for site, rows in zip(heads, texts_of, strict=True)
    ]
    kept_N = _thinned(texts_of)
    temperatures, hit_N = {}, {}
    for rule in Rule:
        distances_NM = site_distances(
            basins_NK[kept_N], heads, background_K=background_K, rule=rule
        )
        hit_N[rule] = distances_NM.argmin(axis=1) == own_N[kept_N]
        temperatures[rule] = fit_temperature(distances_NM, own_N[kept_N])
    arrived = _arrived(hit_N[Rule.BEARING], own_N[kept_N], len(heads))
    return Calibration(
        temperatures=temperatures,
        radii={name: radii[column] for name, column in column_of.items()},
        accuracy={rule: float(hit_N[rule].mean()) for rule in Rule},
        num_texts=len(kept_N),
        arrived={name: arrived[column] for name, column in column_of.items()},
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
    """Return a routing table of calibrated kernels and thresholds of refusal."""
    return Table(
        version=version,
        coordizer_hash=coordizer_hash,
        background_K=background_K,
        temperatures=calibration.temperatures,
        sites=tuple(_calibrated(site, calibration) for site in sites),
        refusal=refusal,
    )


def _calibrated(site: KernelSite, calibration: Calibration) -> KernelSite:
    arrived = calibration.arrived[site.name]
    return replace(
        site,
        radii=calibration.radii[site.name],
        arrived=arrived.share,
        num_held_out=arrived.num_texts,
    )


def fit_temperature(distances_NM: FloatArray, own_N: NDArray[Any]) -> float:
    """Return the tau that maximises the likelihood of the own kernels, in `TEMPERATURE_RANGE`.

    The log likelihood is concave in beta = 1 / (2 tau^2). Its slope is the mean of d^2 under the
    softmax minus the mean of the own d^2, and its curvature is minus the variance of d^2 under the
    softmax. Newton's steps find the only maximum; a step that leaves the bracket is replaced by the
    bracket's geometric mean.

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
    """Return the first and the negated second derivative of the mean log likelihood in beta."""
    rows = max(1, _BLOCK_ELEMENTS // distances_NM.shape[1])
    slope = variance = 0.0
    for start in range(0, len(own_N), rows):
        square_NM = distances_NM[start : start + rows] ** 2
        own_square_N = square_NM[np.arange(len(square_NM)), own_N[start : start + rows]]
        # Subtracting the least square keeps the exponentials in [0, 1].
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
    """Return the indices of the texts that are compared with every kernel, ascending."""
    if sum(map(len, texts_of)) <= TEXTS_MAX:
        return np.sort(np.concatenate(texts_of))
    each = max(1, TEXTS_MAX // len(texts_of))
    kept = [rows[np.unique(np.linspace(0, len(rows) - 1, each).astype(int))] for rows in texts_of]
    return np.sort(np.concatenate(kept))


def _arrived(hit_N: NDArray[np.bool_], own_N: NDArray[np.intp], count: int) -> list[Arrived]:
    """Return for each column the number of its texts, and of those that hit the column."""
    texts = np.bincount(own_N, minlength=count).tolist()
    hits = np.bincount(own_N[hit_N], minlength=count).tolist()
    return [
        Arrived(num_arrived=hit, num_texts=total) for hit, total in zip(hits, texts, strict=True)
    ]


def _families(sites: Sequence[KernelSite]) -> tuple[tuple[KernelSite, ...], dict[str, int]]:
    """Return the first kernel of each family, and kernel -> index of its family."""
    heads: dict[str, KernelSite] = {}
    for site in sites:
        heads.setdefault(family_name(site), site)
    columns = {name: column for column, name in enumerate(heads)}
    return tuple(heads.values()), {site.name: columns[family_name(site)] for site in sites}


def _own_columns(
    column_of: Mapping[str, int], basins_NK: FloatArray, labels: Sequence[str], quantile: float
) -> NDArray[np.intp]:
    if len(labels) != len(basins_NK) or not 0 < quantile <= 1:
        raise ConfigError(
            f"{len(basins_NK)} basins need as many labels and a quantile in (0, 1], got "
            f"{len(labels)} and {quantile}"
        )
    unknown = set(labels) - set(column_of)
    covered = {column_of[label] for label in set(labels) - unknown}
    missing = [name for name, column in column_of.items() if column not in covered]
    if unknown or missing:
        raise ConfigError(
            "held-out texts must cover the kernels; "
            f"without a text: {sorted(missing)}; without a kernel: {sorted(unknown)}"
        )
    return np.array([column_of[label] for label in labels], dtype=np.intp)
