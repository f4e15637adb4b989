"""How near a query lies to each kernel of a table, made ready for one query after another.

The distance to a kernel is the distance to its nearest basin, or bearing. The members of a family
have the same basins and are compared once, as one group; among them, the distance to the centre of
each member's share decides. A kernel without a family is a group of its own.

Shapes: K outcomes, M kernels, G groups, B basins of a group, N queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf

import numpy as np

from constellation.geometry.bearings import bearing
from constellation.geometry.sites import BearingIndex, SiteIndex
from constellation.records import FloatArray, KernelSite, Rule


@dataclass(frozen=True, slots=True, eq=False)
class Nearness:
    """How near one query lies to each kernel."""

    rule: Rule
    """The rule that was used, after any fallback to geodesic."""
    distance_M: FloatArray
    """Radians to each kernel's nearest basin under the rule, [0, pi]."""
    evidence: float
    """Radians between the query and the background, [0, pi]."""
    has_bearing: bool
    """False for a query at the background."""
    cosine_BG: FloatArray
    """Cosine of the query to every basin of every group."""
    group_M: Sequence[int] = ()
    """Group of each kernel; empty when no kernel has a family."""
    share_M: FloatArray | None = None
    """Radians to the centre of each kernel's share, 0 for a kernel without a family; None when no
    kernel has one."""

    def order(self) -> list[int]:
        """Return the places of the kernels, nearest first; of equals the first in the table."""
        if self.share_M is None:
            places: list[int] = self.distance_M.argsort(kind="stable").tolist()
        else:
            places = np.lexsort((self.share_M, np.array(self.group_M), self.distance_M)).tolist()
        return places

    def gap(self, near: int, far: int) -> float:
        """Return by how many radians one kernel is nearer than another, by what decides there."""
        if self.share_M is not None and self.are_family(near, far):
            return float(self.share_M[far] - self.share_M[near])
        return float(self.distance_M[far] - self.distance_M[near])

    def are_family(self, one: int, other: int) -> bool:
        """Return whether two different kernels are of one family."""
        return self.share_M is not None and self.group_M[one] == self.group_M[other]

    def parts(self, kernels: Sequence[int], temperature: float) -> list[float]:
        """Return the part that each of some kernels has in the weight of its family.

        The parts of a family's members sum to 1, so that a family weighs what its root alone did.
        They are softmax(-s^2 / (2 tau^2)) of the distances s to the centres of their shares.

        Args:
            kernels: Places of the kernels that share weight.
            temperature: tau in radians, > 0.
        """
        if self.share_M is None:
            return [1.0] * len(kernels)
        groups = [self.group_M[place] for place in kernels]
        square = [float(self.share_M[place]) ** 2 for place in kernels]
        least = dict.fromkeys(groups, inf)
        for group, value in zip(groups, square, strict=True):
            least[group] = min(least[group], value)
        scale = -1 / (2 * temperature * temperature)
        raw = [
            exp(scale * (value - least[group])) for group, value in zip(groups, square, strict=True)
        ]
        total = dict.fromkeys(groups, 0.0)
        for group, value in zip(groups, raw, strict=True):
            total[group] += value
        return [value / total[group] for group, value in zip(groups, raw, strict=True)]


class KernelIndex:
    """The kernels of a table, ready to be compared with queries."""

    def __init__(self, sites: Sequence[KernelSite], background_K: FloatArray) -> None:
        """Prepare the arrays.

        Args:
            sites: At least one.
            background_K: The table's pi, shape (K,).
        """
        groups = list(dict.fromkeys(map(family_name, sites)))
        number = {name: group for group, name in enumerate(groups)}
        self._group_M = [number[family_name(site)] for site in sites]
        first_of = {family_name(site): site for site in reversed(sites)}
        firsts = [first_of[name] for name in groups]
        self._basins = SiteIndex.of_sets([site.basins_BK for site in firsts])
        self._bearings = BearingIndex.of_sets([site.bearings_BK for site in firsts], background_K)
        self._num_basins_G = [len(site.basins_BK) for site in firsts]
        self._background_K = background_K
        self._shares = _ShareIndex.of(sites, background_K)

    @property
    def several(self) -> bool:
        """Whether a kernel has more than one basin."""
        return self._basins.roots.several

    def look(self, basin_K: FloatArray, rule: Rule) -> Nearness:
        """Return how near one query lies to each kernel.

        Args:
            basin_K: The query, a simplex point, shape (K,).
            rule: `bearing` falls back to `geodesic` for a query without a bearing.
        """
        bearing_K, evidence = self._bearings.look(basin_K)
        if rule is Rule.BEARING and bearing_K is not None:
            distance_G, cosine_BG = self._bearings.compare(bearing_K)
        else:
            rule = Rule.GEODESIC
            distance_G, cosine_BG = self._basins.compare(basin_K)
        if self._shares is None:
            return Nearness(rule, distance_G, evidence, bearing_K is not None, cosine_BG)
        return Nearness(
            rule=rule,
            distance_M=distance_G[self._group_M],
            evidence=evidence,
            has_bearing=bearing_K is not None,
            cosine_BG=cosine_BG,
            group_M=self._group_M,
            share_M=self._shares.distances(basin_K, bearing_K if rule is Rule.BEARING else None),
        )

    def distances_of(self, basins_NK: FloatArray, rule: Rule) -> FloatArray:
        """Return the distance of many queries to every kernel, radians, shape (N, M)."""
        if rule is Rule.GEODESIC:
            distance_NG = self._basins.distances_of(basins_NK)
        else:
            bearing_NK = bearing(basins_NK, self._background_K)
            distance_NG = self._bearings.angles_of(bearing_NK)
            lost_N = ~bearing_NK.any(axis=1)
            distance_NG[lost_N] = self._basins.distances_of(basins_NK[lost_N])
        return distance_NG if self._shares is None else distance_NG[:, self._group_M]

    def nearest_basins(self, near: Nearness, kernels: Sequence[int]) -> list[int | None]:
        """Return which basin of each of the named kernels was nearest; None for a lone basin."""
        groups = [self._group_M[place] for place in kernels]
        by_bearing = near.rule is Rule.BEARING
        sets = self._bearings.bearings if by_bearing else self._basins.roots
        found = sets.nearest(near.cosine_BG, groups)
        return [
            basin if self._num_basins_G[group] > 1 else None
            for basin, group in zip(found, groups, strict=True)
        ]


class _ShareIndex:
    """Centres of the shares of kernels that have a family."""

    def __init__(
        self, sites: Sequence[KernelSite], members: list[int], background_K: FloatArray
    ) -> None:
        self._num_kernels = len(sites)
        self._members = members
        centres = [sites[place].share or sites[place] for place in members]
        self._basins = SiteIndex.of(np.stack([centre.basin_K for centre in centres]))
        self._bearings = BearingIndex.of(
            np.stack([centre.bearing_K for centre in centres]), background_K
        )

    @classmethod
    def of(cls, sites: Sequence[KernelSite], background_K: FloatArray) -> "_ShareIndex | None":
        """Return the index; None when no kernel has a family."""
        families = {site.share.family for site in sites if site.share is not None}
        members = [place for place, site in enumerate(sites) if family_name(site) in families]
        return cls(sites, members, background_K) if members else None

    def distances(self, basin_K: FloatArray, bearing_K: FloatArray | None) -> FloatArray:
        """Return radians to the centres, by bearing if there is one; 0 elsewhere, shape (M,)."""
        share_M = np.zeros(self._num_kernels)
        share_M[self._members] = (
            self._basins.distances(basin_K)
            if bearing_K is None
            else self._bearings.angles(bearing_K)
        )
        return share_M


def family_name(site: KernelSite) -> str:
    """Return the name of a kernel's family, which is that of its root; its own without one."""
    return site.name if site.share is None else site.share.family
