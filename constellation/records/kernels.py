"""Records of kernels: what they are, how they are, and where they lie.

Arrays are numpy, read-only by convention. Shapes: K outcomes of the simplex (64 by default), B
basins of a kernel.
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
    """What a kernel says of itself."""

    name: str
    tokenizer_hash: str
    """sha256 (hex) of the vocabulary and merges it was trained with."""
    context: int
    """Tokens it can read and write together."""
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
class KernelHealth:
    """What the registry knows of a kernel's process."""

    name: str
    up: bool
    pid: int
    """0 while it is down."""
    num_restarts: int
    queue_depth: int = 0
    num_running: int = 0
    capabilities: Capabilities = EVERYTHING
    """Which requests it answers, as it last said."""
    vocabulary: str = COORDIZER_TOKENS
    """What the tokens are that it writes, as it last said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """The part of a family that is a spawned kernel's, or its root's.

    A family is a kernel, its root, and the kernels that were spawned from it. Its members have the
    same basins, so that a query goes to the family as it would go to the root alone; which member
    answers is the one whose centre is nearest to the query.
    """

    family: str
    """Name of the family's root."""
    basin_K: FloatArray
    """Centre of the member's part: Hellinger mean of the basins of its texts."""
    bearing_K: FloatArray
    """The centre's unit bearing, seen from the table's background."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelSite:
    """One kernel as routers and clients know it."""

    name: str
    """Unique, 1 to 64 characters of a-z, 0-9, '-', '_', '.'."""
    basin_K: FloatArray
    """Fitted basin: Hellinger mean of the basins of its training texts, a simplex point. It seats
    the kernel and sums it up; `basins_BK` route."""
    bearing_K: FloatArray
    """The unit bearing of `basin_K`, seen from the table's background."""
    radii: Mapping[Rule, float]
    """The 0.99 quantile of the distances of its held-out texts of 32 tokens, radians, per rule. A
    table without thresholds, as release 0.1.0 wrote them, refuses what is outside all radii."""
    seat: int | None = None
    """Index of its E8 root, 0 to 239: an address, not where it routes from."""
    phi_gauge: float | None = None
    """Integration on the reference checkpoint's robust scale, [0, 1]; None when not measured."""
    endpoint: str | None = None
    """host:port of its gRPC server; None while it is down."""
    # Not compared: a view of a lone basin is a new array with each copy of the record.
    basins_BK: FloatArray = field(default_factory=_none_given, compare=False)
    """Basins by which rule `geodesic` routes, the nearest of which counts, shape (B, K), B >= 1.
    None given or one: `basin_K` itself, whatever is given."""
    bearings_BK: FloatArray = field(default_factory=_none_given, compare=False)
    """Their unit bearings, by which rule `bearing` routes, shape (B, K)."""
    share: Share | None = None
    """Its part of a family; None for a kernel that has no family."""
    arrived: float | None = None
    """Share of its held-out passages of 32 tokens whose nearest kernel by the bearing rule is this
    one, or one of its family, in [0, 1]; None when not measured."""
    num_held_out: int = 0
    """Held-out passages behind `arrived`."""

    def __post_init__(self) -> None:
        """Give a kernel of one basin the sets of it alone.

        Raises:
            InvalidBasin: There are several basins of another shape than their bearings.
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
    """The versioned set of kernels that routers and clients hold."""

    version: int
    """Rises by one with every change, from 1."""
    coordizer_hash: str
    """sha256 (hex) of the coordizer whose basins these are."""
    background_K: FloatArray
    """The corpus background pi, where bearings are taken."""
    temperatures: Mapping[Rule, float]
    """tau of softmax(-d^2 / (2 tau^2)) in radians, calibrated on held-out text, per rule."""
    sites: tuple[KernelSite, ...]
    """Kernels in a fixed order."""
    refusal: Refusal | None = None
    """When a query is out of domain; None: when it is outside all radii, as in release 0.1.0."""
    release: int = 0
    """Number of the release that it belongs to, from 1; 0: it belongs to none."""
