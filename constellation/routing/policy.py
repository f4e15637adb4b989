"""The routing decision: which kernels (models) answer a query, by its basin's distances to them.

A pure function: from a basin (the query's point on the simplex) and a routing table to a `Route`
with its reasons. No learned gate, no clock, no random numbers, no network. Distances come from
`constellation.geometry`.

Shapes: K outcomes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import exp

from constellation.errors import (
    ConfigError,
    InvalidBasin,
    InvalidRequest,
    KernelUnavailable,
    UnknownKernel,
)
from constellation.records import Choice, FloatArray, Mode, Route, Rule, Table
from constellation.routing.nearest_kernels import KernelIndex, Nearness
from constellation.routing.refusal_limits import KernelLimits, TableLimits

LISTED_MAX = 8
"""Most kernels listed in a route, nearest first, unless more kernels have weight."""


def phi_gain(phi_gauge: float | None) -> float:
    """Return the factor of a kernel's weight by its integration: 2^(2 phi - 1), in [0.5, 2].

    Args:
        phi_gauge: Integration in [0, 1]; None (not measured) gives 1, like the reference's median
            of 0.5.
    """
    if phi_gauge is None:
        return 1.0
    return float(2.0 ** (2 * min(max(phi_gauge, 0.0), 1.0) - 1))


@dataclass(frozen=True, slots=True)
class _Calibration:
    """Radii and temperature of one rule, as plain numbers."""

    radii: list[float]
    temperature: float


class RoutingPolicy:
    """Routes queries by one version of the routing table."""

    def __init__(
        self,
        table: Table,
        *,
        rule: Rule = Rule.BEARING,
        top_k: int = 2,
        phi_weighting: bool = True,
    ) -> None:
        """Prepare the arrays of a table.

        Args:
            table: Table of at least one kernel, every kernel with a radius per rule.
            rule: Default rule of requests.
            top_k: Default number of kernels that share the weight, at least 1.
            phi_weighting: False gives every kernel the gain 1.

        Raises:
            ConfigError: The table is empty, names repeat, or a rule has no calibration.
        """
        self.table = table
        self.rule = rule
        self.top_k = top_k
        self._names = [site.name for site in table.sites]
        self._index = {name: row for row, name in enumerate(self._names)}
        if not self._names or len(self._index) != len(self._names) or top_k < 1:
            raise ConfigError(
                f"a routing table needs at least one kernel, unique names and top_k >= 1; got "
                f"{self._names} and {top_k}"
            )
        self._kernels = KernelIndex(table.sites, table.background_K)
        self._seats = [site.seat for site in table.sites]
        self._gains = [phi_gain(site.phi_gauge) if phi_weighting else 1.0 for site in table.sites]
        self._rules = {each: _calibration(table, each) for each in Rule}
        self._limits = None if table.refusal is None else TableLimits(table.refusal)

    def decide(
        self,
        basin_K: FloatArray,
        *,
        num_tokens: int,
        rule: Rule | None = None,
        top_k: int | None = None,
        pinned: str | None = None,
        excluded: Collection[str] = (),
        mode: Mode = Mode.NEAREST,
        crowded: Collection[str] = (),
        refuse: float | None = None,
        without: Collection[str] = (),
    ) -> Route:
        """Return the route of one query.

        Args:
            basin_K: The query's basin, a simplex point, shape (K,).
            num_tokens: Number of tokens the basin was computed from, >= 0; 0 means no evidence.
            rule: Rule of comparison; None means the policy's rule. For a basin at the background,
                which has no bearing, `geodesic` is used.
            top_k: Number of kernels that share the weight, 1 to the number of kernels; None means
                the policy's, or all when there are fewer.
            pinned: Name of the kernel that must answer; distances are reported all the same.
            excluded: Names of kernels that cannot answer now (lost or full). Unknown names are
                ignored.
            mode: Whether the nearest kernel answers alone, or leads the kernels with weight.
            crowded: Names of kernels with too many requests; their queries spill over to the next
                nearest listed kernel that is not crowded. The query must lie inside that kernel's
                domain, unless it is outside the nearest kernel's domain too. A pinned kernel, or
                one that leads others, keeps its queries.
            refuse: Share of in-domain queries that may be out of domain; None means the default.
            without: Names of kernels that are left out, as if the table did not have them. Unlike
                `excluded`, they change neither the reason of the route nor what is in domain.

        Raises:
            InvalidBasin: The basin has another length than the table's basins.
            InvalidRequest: `top_k` or `refuse` is out of range, a kernel is pinned in a mode with
                several kernels or is left out, `refuse` is set for a table without thresholds, or
                every kernel is left out.
            UnknownKernel: No kernel is named `pinned`, or as one that is to be left out.
            KernelUnavailable: The pinned kernel, or every kernel, is excluded.
        """
        if basin_K.shape != self.table.background_K.shape:
            raise InvalidBasin(
                f"a basin has shape {basin_K.shape}; the table's have "
                f"{self.table.background_K.shape}"
            )
        if pinned is not None and mode is not Mode.NEAREST:
            raise InvalidRequest("kernel", pinned, f"none in mode {mode}: several kernels answer")
        left_out = self._places_of(without, pinned) if without else frozenset()
        num_weighted = self._num_weighted(top_k, len(self._names) - len(left_out))
        listed = max(LISTED_MAX, num_weighted) + len(excluded) + len(left_out)
        near = self._kernels.look(basin_K, rule or self.rule, self._num_looked_at(listed))
        if left_out:
            near = near.without(left_out)
        limits = self._limits_of(near, num_tokens, refuse)
        reachable = self._reachable(near, pinned, excluded)
        kernel, reason = self._choose(near, reachable, pinned)
        if crowded and kernel in crowded and pinned is None and mode is Mode.NEAREST:
            kernel, reason = self._spilled(near, reachable, limits, crowded, reason)
        beyond_own, beyond_foreign = limits.beyond(near.distances[0])
        return Route(
            choices=self._choices(near, reachable, limits, num_weighted),
            kernel=kernel,
            reason=reason,
            rule=near.rule,
            mode=mode,
            margin=near.gap(reachable[0], reachable[1]) if len(reachable) > 1 else 0.0,
            out_of_domain=limits.all_beyond(near),
            no_evidence=num_tokens == 0 or not near.has_bearing,
            num_tokens=num_tokens,
            table_version=self.table.version,
            beyond_own=beyond_own,
            beyond_foreign=beyond_foreign,
        )

    def lead(
        self,
        basin_K: FloatArray,
        kernel: str,
        *,
        rule: Rule | None = None,
        excluded: Collection[str] = (),
    ) -> tuple[str, float]:
        """Return the kernel nearest to a basin, and by how much it is nearer than `kernel`.

        Args:
            basin_K: A simplex point, shape (K,).
            kernel: The kernel to compare with. If the table does not have it any more, the result
                is `kernel` and 0.
            rule: Rule of comparison, as in `decide`.
            excluded: Names of kernels that cannot answer now; `kernel` is considered in any case.

        Returns:
            Name of the nearest kernel, and radians, at least 0.
        """
        if kernel not in self._index:
            return kernel, 0.0
        near = self._kernels.look(basin_K, rule or self.rule, len(self._names))
        own = near.places.index(self._index[kernel])
        for rank in range(own):
            if self._names[near.places[rank]] not in excluded:
                return self._names[near.places[rank]], near.gap(rank, own)
        return kernel, 0.0

    def _num_looked_at(self, wanted: int) -> int:
        """Return how many kernels to compare exactly: all, if kernels have radii of their own."""
        if self._limits is None:
            return len(self._names)
        return wanted

    def _limits_of(self, near: Nearness, num_tokens: int, refuse: float | None) -> KernelLimits:
        if self._limits is not None:
            return self._limits.of_query(
                near.rule, num_tokens=num_tokens, evidence=near.evidence, share=refuse
            )
        if refuse is not None:
            raise InvalidRequest(
                "refuse",
                refuse,
                "none: this table has radii for the default share alone; train again for others",
            )
        return KernelLimits(self._rules[near.rule].radii)

    def _places_of(self, without: Collection[str], pinned: str | None) -> frozenset[int]:
        """Return the indices in the table of kernels that are left out, after checking them."""
        for name in without:
            if name not in self._index:
                raise UnknownKernel(name, self._names)
        if pinned is not None and pinned in without:
            raise InvalidRequest("kernel", pinned, "a kernel that is not left out by `without`")
        places = frozenset(self._index[name] for name in without)
        if len(places) == len(self._names):
            raise InvalidRequest("without", [*without], "names of all kernels but one, at most")
        return places

    def _num_weighted(self, top_k: int | None, num_kernels: int) -> int:
        if top_k is None:
            return min(self.top_k, num_kernels)
        if not 1 <= top_k <= num_kernels:
            raise InvalidRequest("top_k", top_k, f"1 to {num_kernels}, the number of kernels")
        return top_k

    def _reachable(
        self, near: Nearness, pinned: str | None, excluded: Collection[str]
    ) -> Sequence[int]:
        """Return the ranks of the near kernels that can answer, nearest first."""
        if pinned is not None and pinned not in self._index:
            raise UnknownKernel(pinned, self._names)
        if not excluded:
            return range(len(near.places))
        reachable = [
            rank for rank, place in enumerate(near.places) if self._names[place] not in excluded
        ]
        if pinned is not None and pinned in excluded:
            raise KernelUnavailable(pinned, "it is lost or full and the request names it")
        if not reachable:
            raise KernelUnavailable(self._names[near.places[0]], "every kernel is lost or full")
        return reachable

    def _choose(
        self, near: Nearness, reachable: Sequence[int], pinned: str | None
    ) -> tuple[str, str]:
        if pinned is not None:
            return pinned, "pinned"
        first = reachable[0]
        return self._names[near.places[first]], "failover" if first else "nearest"

    def _spilled(
        self,
        near: Nearness,
        reachable: Sequence[int],
        limits: KernelLimits,
        crowded: Collection[str],
        reason: str,
    ) -> tuple[str, str]:
        """Return the kernel that answers for a crowded nearest kernel; the nearest if none may."""
        first, *others = reachable[:LISTED_MAX]
        is_outside = not _is_inside(near, first, limits)
        for rank in others:
            name = self._names[near.places[rank]]
            if name not in crowded and (is_outside or _is_inside(near, rank, limits)):
                return name, "spill"
        return self._names[near.places[first]], reason

    def _choices(
        self,
        near: Nearness,
        reachable: Sequence[int],
        limits: KernelLimits,
        num_weighted: int,
    ) -> tuple[Choice, ...]:
        listed = reachable[: max(LISTED_MAX, num_weighted)]
        weights = self._weights(near, listed[:num_weighted])
        weights += [0.0] * (len(listed) - len(weights))
        places = [near.places[rank] for rank in listed]
        radii = limits.radii_of(places)
        # A list, since a generator is slower for each element.
        choices = [
            Choice(
                kernel=self._names[place],
                seat=self._seats[place],
                distance=near.distances[rank],
                weight=weight,
                radius=radius,
                basin=None if near.basins is None else near.basins[rank],
            )
            for rank, place, weight, radius in zip(listed, places, weights, radii, strict=True)
        ]
        return tuple(choices)

    def _weights(self, near: Nearness, ranks: Sequence[int]) -> list[float]:
        """Return the weights of the kernels that share the weight of a route."""
        temperature = self._rules[near.rule].temperature
        gains = [self._gains[near.places[rank]] for rank in ranks]
        if near.shares is not None:
            parts = near.parts(ranks, temperature)
            gains = [gain * part for gain, part in zip(gains, parts, strict=True)]
        distances = [near.distances[rank] for rank in ranks]
        return activation(distances, temperature=temperature, gains=gains)


def activation(
    distances: Sequence[float], *, temperature: float, gains: Sequence[float]
) -> list[float]:
    """Return the kernels' weights: softmax(-d^2 / (2 tau^2)) times the gains, renormalised.

    Computed with plain floats, which for two kernels are several times faster than arrays.

    Args:
        distances: Distances in radians, at least one.
        temperature: tau in radians, > 0.
        gains: Factors > 0, one for each distance.

    Returns:
        Weights that sum to 1, one for each distance.
    """
    least = min(distances) ** 2
    scale = -1 / (2 * temperature * temperature)
    weights = [
        exp(scale * (distance * distance - least)) * gain
        for distance, gain in zip(distances, gains, strict=True)
    ]
    total = sum(weights)
    return [weight / total for weight in weights]


def _is_inside(near: Nearness, rank: int, limits: KernelLimits) -> bool:
    return near.distances[rank] <= limits.radius(near.places[rank])


def _calibration(table: Table, rule: Rule) -> _Calibration:
    temperature = table.temperatures.get(rule)
    if temperature is None or not temperature > 0:
        raise ConfigError(f"the table has no temperature > 0 for rule {rule.value!r}; calibrate it")
    missing = [site.name for site in table.sites if rule not in site.radii]
    if missing:
        raise ConfigError(f"no radius for rule {rule.value!r} on {', '.join(missing)}; calibrate")
    radii = [float(site.radii[rule]) for site in table.sites]
    return _Calibration(radii=radii, temperature=temperature)
