"""Records of where a query goes, and why.

Arrays are numpy, read-only by convention. Shapes: K outcomes of the simplex (64 by default).
"""

from dataclasses import dataclass, field, fields
from enum import StrEnum

from constellation.records.array_types import FloatArray


class Rule(StrEnum):
    """How a query's basin is compared with a kernel's."""

    GEODESIC = "geodesic"
    """Fisher-Rao distance between the two basins, radians on the sphere of radius 2, [0, pi]."""
    BEARING = "bearing"
    """Angle between their unit log-map directions seen from the background, radians, [0, pi]."""


class Mode(StrEnum):
    """How many kernels answer."""

    NEAREST = "nearest"
    """One kernel answers."""
    MIXTURE = "mixture"
    """The top k write together, weighted by the route, whose weights follow the text."""
    POSTERIOR = "posterior"
    """The top k write together, weighted by Bayes from how likely each found the text so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingOptions:
    """How one query is to be routed; None takes the router's configuration."""

    rule: Rule | None = None
    mode: Mode = Mode.NEAREST
    top_k: int | None = None
    """Kernels that receive weights, 1 to the number of kernels."""
    kernel: str | None = None
    """The kernel that must answer."""
    refuse_out_of_domain: bool = False
    """Refuse a query that is out of domain at the default share: 1 % of in-domain queries."""
    refuse: float | None = None
    """Refuse a query that is out of domain at this share of in-domain queries, 0.002 to 0.5."""
    explain: bool = False
    """Name the tokens that moved the basin most."""
    basin_K: FloatArray | None = None
    """Route by this point instead of the text's own basin."""
    handoff: bool = False
    """Let another kernel go on when the answer moves into its domain; in mode nearest only."""

    @property
    def refuses(self) -> bool:
        """Whether a query that is out of domain is refused."""
        return self.refuse_out_of_domain or self.refuse is not None


@dataclass(frozen=True, kw_only=True, slots=True, init=False)
class Choice:
    """One kernel that was considered for a query."""

    kernel: str
    seat: int | None
    distance: float
    """Radians under the route's rule, [0, pi]."""
    weight: float
    """Share of the top k in [0, 1]; 0 outside it."""
    radius: float
    """Distance in radians, under the same rule, beyond which a query of this length with this much
    evidence is out of the kernel's domain."""
    basin: int | None = None
    """Which of the kernel's basins was nearest, from 0; None for a kernel of one basin."""

    # By hand: every route lists eight, and a frozen record that sets its fields by
    # `object.__setattr__` takes more than twice the time to make.
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
    """How far one token of the query moved its basin."""

    text: str
    """The token as text (invalid UTF-8 replaced)."""
    position: int
    """Index among the query's tokens, from 0."""
    shift: float
    """Fisher-Rao distance in radians between the basin with and without this token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """The decision for one query, with its reasons."""

    choices: tuple[Choice, ...]
    """All kernels considered, nearest first."""
    kernel: str
    """The kernel that answers."""
    reason: str
    """"nearest", "pinned" (the caller named it), "failover" (a nearer one was lost) or "spill"."""
    rule: Rule
    """The rule that was used, after any fallback to geodesic."""
    mode: Mode
    margin: float
    """Second distance minus first, radians; 0 when there is one kernel. Between two kernels of one
    family: of their distances to the centres of their shares."""
    out_of_domain: bool
    """True when the query lies beyond every kernel's radius: at the share that the request asks
    for, else at the default of 1 % of in-domain queries."""
    no_evidence: bool
    """True when the text had no token that says anything (its basin is the background)."""
    num_tokens: int
    """Tokens of the query that count: without white space at its ends."""
    table_version: int
    influences: tuple[TokenInfluence, ...] = field(default=())
    """Tokens that moved the basin most, largest first; only when an explanation was asked for."""
    beyond_own: float | None = None
    """Share of in-domain held-out texts of this length that lie as far out as the query, clipped
    to [0.002, 0.5]; None for a table without thresholds."""
    beyond_foreign: float | None = None
    """Share of held-out texts of a left-out domain that lie as far out; None when unknown."""

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels considered, nearest first."""
        return tuple(choice.kernel for choice in self.choices)

    @property
    def distances(self) -> tuple[float, ...]:
        """Their distances in radians under `rule`, in the same order."""
        return tuple(choice.distance for choice in self.choices)
