"""Records of kernels (served models): description, health, place on the simplex, routing table.

Arrays are numpy, read-only by convention. Shapes: K outcomes of the simplex (64 by default), B
basins of a kernel. A basin is a point of the simplex; a bearing is the unit direction of a basin
seen from the background.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from constellation.errors import InvalidBasin
from constellation.records.array_types import FloatArray
from constellation.records.capabilities import COORDIZER_TOKENS, EVERYTHING, Capabilities
from constellation.records.refusal import Refusal
from constellation.records.routing import Rule


def _none_given() -> FloatArray:
    return np.empty((0, 0))


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelDescription:
    """A kernel's own report: vocabulary, context, size, queue and uptime."""

    name: str
    tokenizer_hash: str
    """sha256 (hex) of the vocabulary and merges that the kernel was trained with."""
    context: int
    """Most tokens of prompt and answer together."""
    num_parameters: int
    pid: int
    queue_depth: int
    num_running: int
    uptime_s: float
    num_unexpected_errors: int
    capabilities: Capabilities = EVERYTHING
    """Which requests it answers."""
    vocabulary: str = COORDIZER_TOKENS
    """What the tokens are that it writes, for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How the steps of a process with kernels progress: of the kernel that is worst off."""

    kernel: str = ""
    """Name of the kernel; empty when all are well."""
    stalled_s: float = 0.0
    """Seconds for which texts could have been stepped and were not; 0 when none could."""
    num_failed_probes: int = 0
    """Tokens in a row that the kernel could not write when it was asked to."""
    reason: str = ""
    """Why the last of these could not be written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaHealth:
    """The registry's view of one of the processes that serve a kernel."""

    member: str
    """Actor name of the process."""
    endpoint: str | None
    """host:port of its gRPC server; None while it is down."""
    pid: int
    """Process id; 0 while it is down."""
    num_restarts: int
    queue_depth: int = 0
    num_running: int = 0
    node: str = ""
    """Id of the node on which it runs; empty while that is not known."""

    @property
    def up(self) -> bool:
        """Whether it answers."""
        return self.endpoint is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelHealth:
    """The registry's view of a kernel: up or down, restarts, queue.

    Of a kernel that several processes serve: up while one of them is, their restarts, waiting and
    running requests together, and process id and node of the first that is up.
    """

    name: str
    up: bool
    pid: int
    """Process id; 0 while the kernel is down."""
    num_restarts: int
    queue_depth: int = 0
    num_running: int = 0
    capabilities: Capabilities = EVERYTHING
    """Which requests it answers, as it last said."""
    vocabulary: str = COORDIZER_TOKENS
    """What the tokens are that it writes, as it last said."""
    node: str = ""
    """Id of the node on which its process runs; empty while that is not known."""
    replicas: tuple[ReplicaHealth, ...] = ()
    """Its processes, when it is served by several; empty for a kernel of one process."""
    problem: str = ""
    """Why fewer processes serve it than are wanted; empty when nothing is wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterStatus:
    """The registry's view of one router process: up or down, address, restarts."""

    name: str
    endpoint: str
    """host:port for clients, which stays the same while the router is down."""
    up: bool
    pid: int
    """Process id; 0 while the router is down."""
    num_restarts: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """The part of a kernel family's queries that goes to one member of the family.

    A family is a kernel (the root) and the kernels that were spawned from it. All members have the
    same basins, so a query reaches the family as it would reach the root alone; within the family,
    the member whose centre is nearest to the query answers.
    """

    family: str
    """Name of the family's root."""
    basin_K: FloatArray
    """Centre of the member's part: Hellinger mean of the basins of the member's texts."""
    bearing_K: FloatArray
    """Unit bearing of the centre, seen from the table's background."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelSite:
    """One kernel's row of the routing table: basins, radii, seat and network address."""

    name: str
    """Unique name, 1 to 64 characters of a-z, 0-9, '-', '_', '.'."""
    basin_K: FloatArray
    """The kernel's mean basin: Hellinger mean of the basins of its training texts, a simplex point.
    It decides the seat and summarises the kernel; routing compares with `basins_BK`."""
    bearing_K: FloatArray
    """The unit bearing of `basin_K`, seen from the table's background."""
    radii: Mapping[Rule, float]
    """Rule -> radius in radians: the 0.99 quantile of the distances of the kernel's held-out texts
    of 32 tokens. A table without thresholds, as release 0.1.0 wrote, refuses queries outside all
    radii."""
    seat: int | None = None
    """Index of the kernel's E8 root, 0 to 239: an address, which does not affect routing."""
    phi_gauge: float | None = None
    """Integration on the robust scale of a reference checkpoint, [0, 1]; None when not measured."""
    endpoint: str | None = None
    """host:port of the kernel's gRPC server; None while the kernel is down."""
    more_endpoints: tuple[str, ...] = ()
    """host:port of further processes that serve the kernel now, beside that at `endpoint`."""
    # Not compared: for a kernel of one basin the view is a new array in each copy of the record.
    basins_BK: FloatArray = field(default_factory=_none_given, compare=False)
    """Basins that rule `geodesic` compares a query with, shape (B, K), B >= 1; the nearest basin
    counts. With at most one given basin, `basin_K` is used instead."""
    bearings_BK: FloatArray = field(default_factory=_none_given, compare=False)
    """Unit bearings of `basins_BK`, which rule `bearing` compares a query with, shape (B, K)."""
    share: Share | None = None
    """The kernel's part of its family's queries; None for a kernel without a family."""
    arrived: float | None = None
    """Share of the kernel's held-out passages of 32 tokens whose nearest kernel by the bearing
    rule is this kernel or a member of its family, in [0, 1], higher is better; None when not
    measured."""
    num_held_out: int = 0
    """Number of held-out passages behind `arrived`."""

    @property
    def endpoints(self) -> tuple[str, ...]:
        """host:port of all processes that serve the kernel now; empty while it is down."""
        return () if self.endpoint is None else (self.endpoint, *self.more_endpoints)

    def __post_init__(self) -> None:
        """Set `basins_BK` and `bearings_BK` of a kernel with one basin from its mean basin.

        Raises:
            InvalidBasin: Several basins have another shape than their bearings.
        """
        if len(self.basins_BK) <= 1:
            object.__setattr__(self, "basins_BK", self.basin_K[None])
            object.__setattr__(self, "bearings_BK", self.bearing_K[None])
        elif self.basins_BK.shape != self.bearings_BK.shape:
            raise InvalidBasin(
                f"kernel {self.name!r} has basins of shape {self.basins_BK.shape} and bearings of "
                f"shape {self.bearings_BK.shape}; give a bearing for each basin"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The routing table: a versioned set of kernels that routers and clients hold."""

    version: int
    """Version of the table, from 1; every change adds one."""
    coordizer_hash: str
    """sha256 (hex) of the coordizer under which the table's basins were computed."""
    background_K: FloatArray
    """The corpus background pi, from which bearings are measured."""
    temperatures: Mapping[Rule, float]
    """Rule -> tau of softmax(-d^2 / (2 tau^2)) in radians, calibrated on held-out text."""
    sites: tuple[KernelSite, ...]
    """Rows of the kernels, in a fixed order."""
    refusal: Refusal | None = None
    """Thresholds beyond which a query is out of domain; None means outside all radii, as in release
    0.1.0."""
    release: int = 0
    """Number of the release that the table belongs to, from 1; 0 means no release."""
