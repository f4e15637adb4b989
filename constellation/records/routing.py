"""Records of routing: the options of a request, and the route (chosen kernels, with reasons).

Arrays are numpy, read-only by convention. Shapes: K outcomes of the simplex (64 by default).
"""

from dataclasses import dataclass, field, fields
from enum import StrEnum

from constellation.records.array_types import FloatArray


class Rule(StrEnum):
    """Distance by which a query's basin (simplex point) is compared with a kernel's basins."""

    GEODESIC = "geodesic"
    """Fisher-Rao distance between the two basins, radians on the sphere of radius 2, [0, pi]."""
    BEARING = "bearing"
    """Angle between the directions of the two basins seen from the background, radians, [0, pi]."""


class Mode(StrEnum):
    """How many kernels write an answer, and how their weights are computed."""

    NEAREST = "nearest"
    """One kernel writes the answer."""
    MIXTURE = "mixture"
    """The top k kernels write together, weighted by the route, which is renewed as the text
    grows."""
    POSTERIOR = "posterior"
    """The top k kernels write together, weighted by Bayes from their likelihood of the text so
    far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingOptions:
    """Routing options of one request; None means the router's setting."""

    rule: Rule | None = None
    mode: Mode = Mode.NEAREST
    top_k: int | None = None
    """Number of nearest kernels that get a weight, 1 to the number of kernels."""
    kernel: str | None = None
    """Name of the kernel that must answer; None lets the router choose."""
    refuse_out_of_domain: bool = False
    """Refuse a query that is out of domain at the default share: 1 % of in-domain queries."""
    refuse: float | None = None
    """Refuse a query that is out of domain at this share of in-domain queries, 0.002 to 0.5."""
    explain: bool = False
    """Whether to return the tokens that moved the query's basin most."""
    basin_K: FloatArray | None = None
    """Simplex point to route by, in place of the basin of the text."""
    handoff: bool = False
    """Whether another kernel may continue the answer when the text moves into its domain; only in
    mode nearest."""
    without: tuple[str, ...] = ()
    """Kernels that are left out of the decision, as if they were not in the table."""

    @property
    def refuses(self) -> bool:
        """Whether a query that is out of domain is refused."""
        return self.refuse_out_of_domain or self.refuse is not None


@dataclass(frozen=True, kw_only=True, slots=True, init=False)
class Choice:
    """One kernel that was considered for a query, with its distance and weight."""

    kernel: str
    seat: int | None
    distance: float
    """Distance between query and kernel under the route's rule, radians in [0, pi]."""
    weight: float
    """The kernel's weight among the top k, in [0, 1]; 0 for a kernel outside the top k."""
    radius: float
    """Distance in radians, under the same rule, beyond which a query of this length with this much
    evidence is outside the kernel's domain."""
    basin: int | None = None
    """Index of the nearest of the kernel's basins, from 0; None for a kernel of one basin."""

    # Written by hand: every route has eight choices, and a generated frozen __init__, which calls
    # `object.__setattr__`, takes more than twice the time.
    def __init__(
        self,
        *,
        kernel: str,
        seat: int | None,
        distance: float,
        weight: float,
        radius: float,
        basin: int | None = None,
    ) -> None:
        _SET_KERNEL(self, kernel)
        _SET_SEAT(self, seat)
        _SET_DISTANCE(self, distance)
        _SET_WEIGHT(self, weight)
        _SET_RADIUS(self, radius)
        _SET_BASIN(self, basin)


_SET_KERNEL, _SET_SEAT, _SET_DISTANCE, _SET_WEIGHT, _SET_RADIUS, _SET_BASIN = (
    Choice.__dict__[each.name].__set__ for each in fields(Choice)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenInfluence:
    """How far one token of a query moved the query's basin."""

    text: str
    """The token as text (invalid UTF-8 replaced)."""
    position: int
    """Index among the query's tokens, from 0."""
    shift: float
    """Fisher-Rao distance in radians between the basin with and without this token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """The decision for one query: the kernel that answers, the kernels considered, the reason."""

    choices: tuple[Choice, ...]
    """Kernels considered, nearest first."""
    kernel: str
    """Name of the kernel that answers."""
    reason: str
    """"nearest", "pinned" (the caller named the kernel), "failover" (a nearer kernel was lost) or
    "spill" (a nearer kernel had too many requests in progress)."""
    rule: Rule
    """The rule that was used, which is geodesic for a query without a bearing."""
    mode: Mode
    margin: float
    """Second smallest distance minus smallest, radians; 0 when there is one kernel. For two kernels
    of one family: the difference of their distances to the centres of their shares."""
    out_of_domain: bool
    """True when the query lies beyond every kernel's radius, at the share that the request names,
    else at the default of 1 % of in-domain queries."""
    no_evidence: bool
    """True when the text has no informative token (its basin is the background)."""
    num_tokens: int
    """Number of the query's tokens, without white space at the ends of its text."""
    table_version: int
    influences: tuple[TokenInfluence, ...] = field(default=())
    """Tokens that moved the basin most, largest first; empty unless an explanation was
    requested."""
    beyond_own: float | None = None
    """Share of in-domain held-out texts of this length that lie at least as far out as the query,
    clipped to [0.002, 0.5]; None for a table without thresholds."""
    beyond_foreign: float | None = None
    """Share of held-out texts of a left-out domain that lie at least as far out; None when
    unknown."""

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels considered, nearest first."""
        return tuple(choice.kernel for choice in self.choices)

    @property
    def distances(self) -> tuple[float, ...]:
        """Distances of the kernels considered in radians under `rule`, in the same order."""
        return tuple(choice.distance for choice in self.choices)
