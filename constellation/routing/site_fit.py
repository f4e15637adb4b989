"""Compute kernels' basins (simplex points), bearings and seats from their training texts' basins.

A kernel's mean basin is the Hellinger mean of the basins of its training texts. Each corpus
(source) is summed on its own, and the sums are added exactly, so that removing a corpus gives the
same bits as never having had it. The bearing is the direction of the basin at the table's
background; routing by it equals routing by the mean of the texts' own bearings (docs/log.md). A
kernel routes by this one basin, or by several basins that are found in its own texts
(`basin_sets`).

Shapes: K outcomes, N texts of a corpus, M kernels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from constellation.errors import ConfigError
from constellation.geometry.bearings import bearing
from constellation.geometry.means import (
    HellingerSum,
    add_hellinger_sums,
    sum_hellinger,
)
from constellation.records import FloatArray, KernelSite, Rule
from constellation.routing.basin_sets import find_basins

if TYPE_CHECKING:
    from constellation.geometry.seat_assignment import SeatAssignment

BASINS_MAX = 16
"""Most basins of one kernel: a table of 240 kernels then has 3,840 basins and fits into one
message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelTexts:
    """Basins of one kernel's texts, grouped by corpus (source)."""

    name: str
    """Name of the kernel."""
    corpora: Mapping[str, FloatArray] = field(default_factory=dict)
    """Corpus -> basins of its texts, simplex points, shape (N, K), N >= 1."""

    def basin(self) -> FloatArray:
        """Return the kernel's mean basin: the Hellinger mean of all its texts, shape (K,).

        Raises:
            ConfigError: The kernel has no corpus.
        """
        if not self.corpora:
            raise ConfigError(f"kernel {self.name!r} has no corpus, so it has no basin; add one")
        return add_hellinger_sums(self.sums().values()).mean()

    def sums(self) -> dict[str, HellingerSum]:
        """Return corpus -> sum of the square roots of its texts' basins, with their count."""
        return {name: sum_hellinger(basins_NK) for name, basins_NK in self.corpora.items()}

    def basins(self, background_K: FloatArray, basins_max: int) -> FloatArray:
        """Return the basins that routing compares with, shape (B, K), 1 <= B <= `basins_max`.

        A single basin equals `basin()` to the bit. Several basins do not depend on the order of
        corpora or texts.

        Raises:
            ConfigError: The kernel has no corpus.
        """
        one_K = self.basin()
        if basins_max == 1:
            return one_K[None]
        texts_NK = np.concatenate(list(self.corpora.values()))
        found_BK = find_basins(texts_NK, background_K=background_K, basins_max=basins_max)
        return found_BK if len(found_BK) > 1 else one_K[None]


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteFit:
    """Rows of kernels for a table, with their seats' distortion."""

    sites: tuple[KernelSite, ...]
    """Rows in the given order; `radii` are infinite until `calibrate` sets them."""
    seating: "SeatAssignment | None"
    """Seats with their distortion; None if no seats were requested."""


def fit_sites(
    kernels: Sequence[KernelTexts],
    *,
    background_K: FloatArray,
    seats: bool = True,
    basins_max: int = 1,
) -> SiteFit:
    """Compute the rows of kernels for a table: basins, bearings and seats.

    Args:
        kernels: Texts of at least one kernel, with unique names.
        background_K: The table's background pi, from which bearings are measured, shape (K,).
        seats: Assign E8 seats so that near basins get near seats (at most 240 kernels).
        basins_max: Most basins of one kernel, 1 to `BASINS_MAX`; the number is found in the
            kernel's own texts.

    Raises:
        ConfigError: There is no kernel, names repeat, a kernel has no corpus, a kernel's basin lies
            at the background and has no bearing, or `basins_max` is out of range.
    """
    names = [kernel.name for kernel in kernels]
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"sites need kernels with different names, got {names}")
    if not 1 <= basins_max <= BASINS_MAX:
        raise ConfigError(f"a kernel has 1 to {BASINS_MAX} basins, got {basins_max}")
    basins_MK = np.stack([kernel.basin() for kernel in kernels])
    bearings_MK = bearing(basins_MK, background_K)
    at_background = [name for name, row in zip(names, bearings_MK, strict=True) if not row.any()]
    if at_background:
        raise ConfigError(
            f"the basins of {', '.join(at_background)} lie at the background, so their texts "
            "cannot be distinguished from others; give them other text, or refit the coordinates"
        )
    seating = _assign(basins_MK) if seats else None
    chosen = seating.seats if seating else (None,) * len(names)
    several = [kernel.basins(background_K, basins_max) for kernel in kernels]
    sites = tuple(
        KernelSite(
            name=name,
            basin_K=basins_MK[place],
            bearing_K=bearings_MK[place],
            radii=dict.fromkeys(Rule, float("inf")),
            seat=chosen[place],
            basins_BK=several[place],
            bearings_BK=bearing(several[place], background_K),
        )
        for place, name in enumerate(names)
    )
    return SiteFit(sites=sites, seating=seating)


def _assign(basins_MK: FloatArray) -> "SeatAssignment":
    # Imported here: the search needs scipy, whose import would slow down processes that route.
    from constellation.geometry.seat_assignment import assign_seats

    return assign_seats(basins_MK)
