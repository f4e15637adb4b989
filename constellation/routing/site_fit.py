"""Fit where kernels route from: basins and bearings, from the corpora of each kernel.

A kernel's basin is the Hellinger mean of the basins of its training texts. Each corpus is summed
alone and the sums are folded exactly: without a corpus, the basin has the same bits as if that
corpus had never been there. The bearing is derived from the basin at the table's background; it
routes like the mean of the texts' own bearings (docs/log.md). A kernel routes from that one basin,
or from several that are found in its own texts (`basin_sets`).

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
    fold_hellinger,
    sum_hellinger,
)
from constellation.records import FloatArray, KernelSite, Rule
from constellation.routing.basin_sets import find_basins

if TYPE_CHECKING:
    from constellation.geometry.assignment import SeatAssignment

BASINS_MAX = 16
"""Most basins of one kernel: a table of 240 kernels has 3,840 then, which fit into one message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelTexts:
    """What a kernel's basin is made of, corpus by corpus."""

    name: str
    """The kernel."""
    corpora: Mapping[str, FloatArray] = field(default_factory=dict)
    """Corpus -> basins of its texts, simplex points, shape (N, K), N >= 1."""

    def basin(self) -> FloatArray:
        """Return the Hellinger mean of all its texts, shape (K,).

        Raises:
            ConfigError: When no corpus is left.
        """
        if not self.corpora:
            raise ConfigError(f"kernel {self.name!r} has no corpus, so it has no basin; add one")
        return fold_hellinger(self.sums().values()).mean()

    def sums(self) -> dict[str, HellingerSum]:
        """Return corpus -> the sum of its texts' square roots, and their count."""
        return {name: sum_hellinger(basins_NK) for name, basins_NK in self.corpora.items()}

    def basins(self, background_K: FloatArray, basins_max: int) -> FloatArray:
        """Return the basins that the kernel routes from, shape (B, K), 1 <= B <= `basins_max`.

        One is `basin()` to the bit. Several do not depend on the order of corpora or texts.

        Raises:
            ConfigError: When no corpus is left.
        """
        one_K = self.basin()
        if basins_max == 1:
            return one_K[None]
        texts_NK = np.concatenate(list(self.corpora.values()))
        found_BK = find_basins(texts_NK, background_K=background_K, basins_max=basins_max)
        return found_BK if len(found_BK) > 1 else one_K[None]


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteFit:
    """Kernel sites and how good their summaries are."""

    sites: tuple[KernelSite, ...]
    """In the order given; `radii` are infinite until `calibrate` sets them."""
    seating: "SeatAssignment | None"
    """Seats with their distortion; None when seats were not asked for."""


def fit_sites(
    kernels: Sequence[KernelTexts],
    *,
    background_K: FloatArray,
    seats: bool = True,
    basins_max: int = 1,
) -> SiteFit:
    """Make the sites of a table.

    Args:
        kernels: At least one, with different names.
        background_K: The table's pi, where bearings are taken, shape (K,).
        seats: Assign E8 seats so that near basins get near seats (at most 240 kernels).
        basins_max: Most basins of one kernel, 1 to `BASINS_MAX`; how many a kernel has is found in
            its own texts.

    Raises:
        ConfigError: When there is no kernel, names repeat, a kernel has no corpus, a kernel's
            basin lies at the background and has no bearing, or `basins_max` is out of range.
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
            f"the basins of {', '.join(at_background)} lie at the background, so nothing tells "
            "their texts from others; give them other text, or refit the coordinates"
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
    # Imported here: the search needs scipy, which who only routes should not wait for.
    from constellation.geometry.assignment import assign_seats

    return assign_seats(basins_MK)
