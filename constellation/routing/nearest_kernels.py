"""Find the kernels (models) of a routing table nearest to a query, with distances and families.

The distance to a kernel is the distance to its nearest basin or bearing. The members of a family (a
kernel and those spawned from it) have the same basins and are compared once, as one group; within
the group, the distance to the centre of each member's share decides. A kernel without a family is a
group of its own.

Shapes: K outcomes, M kernels, G groups, N queries.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp

import numpy as np

from constellation.geometry.bearings import bearing
from constellation.geometry.sites import BearingIndex, SiteIndex
from constellation.records import FloatArray, KernelSite, Rule


@dataclass(slots=True, eq=False)  # not frozen: one is made for every query, in a third of the time
class Nearness:
    """The R kernels nearest to one query, nearest first; of equals the table's first."""

    rule: Rule
    """The rule that was used: geodesic for a query without a bearing."""
    evidence: float
    """Distance between the query and the background, radians in [0, pi]."""
    has_bearing: bool
    """Whether the query has a bearing; False at the background."""
    places: list[int]
    """Indices of the kernels in the table."""
    distances: list[float]
    """Distance to the nearest basin of each kernel under the rule, radians in [0, pi]."""
    basins: list[int | None] | None
    """Index of the nearest basin of each kernel, None for a kernel of one basin; None when all
    kernels have one basin."""
    shares: "list[Shared | None] | None" = None
    """Position of each kernel within its family; None when no kernel has a family."""

    def without(self, places: Collection[int]) -> "Nearness":
        """Return the same without some kernels.

        Args:
            places: Indices of the kernels in the table.
        """
        ranks = [rank for rank, place in enumerate(self.places) if place not in places]
        return replace(
            self,
            places=[self.places[rank] for rank in ranks],
            distances=[self.distances[rank] for rank in ranks],
            basins=None if self.basins is None else [self.basins[rank] for rank in ranks],
            shares=None if self.shares is None else [self.shares[rank] for rank in ranks],
        )

    def gap(self, near: int, far: int) -> float:
        """Return by how many radians one kernel is nearer than another.

        For two members of one family, the distances to the centres of their shares are compared.

        Args:
            near: Index in `places` of the nearer kernel.
            far: Index in `places` of the other kernel.
        """
        if self.shares is not None:
            one, other = self.shares[near], self.shares[far]
            if one is not None and other is not None and one.family == other.family:
                return other.distance - one.distance
        return self.distances[far] - self.distances[near]

    def parts(self, ranks: Sequence[int], temperature: float) -> list[float]:
        """Return each kernel's part of its family's weight; 1 for a kernel without a family.

        The parts of a family's members sum to 1, so that a family has the weight that its root
        alone would have. They are softmax(-s^2 / (2 tau^2)) of the distances s to the centres of
        their shares.

        Args:
            ranks: Indices in `places` of the kernels that share weight, ascending.
            temperature: tau in radians, > 0.
        """
        shares = [None if self.shares is None else self.shares[rank] for rank in ranks]
        least: dict[str, float] = {}
        for share in shares:  # the first member of a family is the nearest
            if share is not None:
                least.setdefault(share.family, share.distance**2)
        scale = -1 / (2 * temperature * temperature)
        raw = [
            1.0 if share is None else exp(scale * (share.distance**2 - least[share.family]))
            for share in shares
        ]
        total = dict.fromkeys(least, 0.0)
        for share, value in zip(shares, raw, strict=True):
            if share is not None:
                total[share.family] += value
        return [
            value if share is None else value / total[share.family]
            for share, value in zip(shares, raw, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Shared:
    """Family of a kernel, and the query's distance to the centre of the kernel's share."""

    family: str
    distance: float
    """Distance from the query to the centre of the kernel's share, radians in [0, pi]."""


class KernelIndex:
    """The kernels of a table, indexed for distances to queries."""

    def __init__(self, sites: Sequence[KernelSite], background_K: FloatArray) -> None:
        """Compute the arrays of the index.

        Args:
            sites: Rows of the kernels, at least one.
            background_K: The table's background pi, shape (K,).
        """
        members: dict[str, list[int]] = {}
        for place, site in enumerate(sites):
            members.setdefault(family_name(site), []).append(place)
        self._members_of = list(members.values())
        firsts = [sites[places[0]] for places in self._members_of]
        self._basins = SiteIndex.of_sets([site.basins_BK for site in firsts])
        self._bearings = BearingIndex.of_sets([site.bearings_BK for site in firsts], background_K)
        self._is_lone = [len(site.basins_BK) == 1 for site in firsts]
        self._any_lone = any(self._is_lone)
        self._background_K = background_K
        self._shares = _ShareIndex.of(sites, background_K)

    def look(self, basin_K: FloatArray, rule: Rule, count: int) -> Nearness:
        """Return the kernels nearest to one query.

        Args:
            basin_K: The query, a simplex point, shape (K,).
            rule: Rule of comparison; for a query without a bearing `geodesic` is used.
            count: Number of kernels to return, at least 1; all when there are fewer, and more when
                families are among them.
        """
        bearing_K: FloatArray | None = None
        if rule is Rule.BEARING:
            bearing_K, evidence = self._bearings.look(basin_K)
            has_bearing = bearing_K is not None
        else:
            has_bearing, evidence = self._bearings.evidence(basin_K)
        if bearing_K is not None:
            found = self._bearings.bearings.nearest(bearing_K, count)
        else:
            rule = Rule.GEODESIC
            found = self._basins.nearest(basin_K, count)
        basins: list[int | None] = [*found.members]
        if basins and self._any_lone:
            basins = [
                None if self._is_lone[group] else member
                for group, member in zip(found.sets, found.members, strict=True)
            ]
        if self._shares is None:  # every group is one kernel, in the table's order
            return Nearness(
                rule=rule,
                evidence=evidence,
                has_bearing=has_bearing,
                places=found.sets,
                distances=found.radians,
                basins=basins or None,
            )
        shared = self._shares.of_query(basin_K, bearing_K)
        rows = [
            (place, row)
            for row, group in enumerate(found.sets)
            for place in _by_share(self._members_of[group], shared)
        ]
        return Nearness(
            rule=rule,
            evidence=evidence,
            has_bearing=has_bearing,
            places=[place for place, _ in rows],
            distances=[found.radians[row] for _, row in rows],
            basins=[basins[row] for _, row in rows] if basins else None,
            shares=[shared.get(place) for place, _ in rows],
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
        if self._shares is None:
            return distance_NG
        distance_NM = np.empty((len(basins_NK), sum(map(len, self._members_of))))
        for group, places in enumerate(self._members_of):
            distance_NM[:, places] = distance_NG[:, group, None]
        return distance_NM


class _ShareIndex:
    """Centres of the shares of kernels with a family, indexed for distances to queries."""

    def __init__(
        self, sites: Sequence[KernelSite], members: list[int], background_K: FloatArray
    ) -> None:
        self._families = [family_name(sites[place]) for place in members]
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

    def of_query(self, basin_K: FloatArray, bearing_K: FloatArray | None) -> dict[int, Shared]:
        """Return index of a member in the table -> its place in its family, for one query."""
        radians = (
            self._basins.distances(basin_K)
            if bearing_K is None
            else self._bearings.angles(bearing_K)
        )
        rows = zip(self._members, self._families, radians.tolist(), strict=True)
        return {place: Shared(family, distance) for place, family, distance in rows}


def _by_share(places: list[int], shared: Mapping[int, Shared]) -> list[int]:
    """Return the kernels of one group, sorted by distance to the centres of their shares."""
    if len(places) == 1:
        return places
    return sorted(places, key=lambda place: shared[place].distance)


def family_name(site: KernelSite) -> str:
    """Return the name of a kernel's family (its root's name), or the name of a lone kernel."""
    return site.name if site.share is None else site.share.family
