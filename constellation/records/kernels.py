"""Records of kernels: what they are, how they are, and where they lie.

Arrays are numpy, read-only by convention. Shapes: K outcomes of the simplex (64 by default).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from constellation.records.arrays import FloatArray
from constellation.records.refusal import Refusal, Thresholds
from constellation.records.routing import Rule


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Where a kernel's parent routed from before the two shared its queries."""

    parent: str
    """Name of the kernel that was split."""
    basin_K: FloatArray
    """Its basin before."""
    bearing_K: FloatArray
    """Its bearing before."""
    radii: Mapping[Rule, float]
    """Its radii before."""
    thresholds: Thresholds | None = None
    """Its own thresholds before; None: it had those of the table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelSite:
    """One kernel as routers and clients know it."""

    name: str
    """Unique, 1 to 64 characters of a-z, 0-9, '-', '_', '.'."""
    basin_K: FloatArray
    """Fitted basin: Hellinger mean of the basins of its training texts, a simplex point."""
    bearing_K: FloatArray
    """Mean unit bearing of its training texts seen from the table's background."""
    radii: Mapping[Rule, float]
    """The 0.99 quantile of the distances of its held-out texts of 32 tokens, radians, per rule. A
    table without thresholds, as release 0.1.0 wrote them, refuses what is outside all radii."""
    seat: int | None = None
    """Index of its E8 root, 0 to 239: an address, not where it routes from."""
    phi_gauge: float | None = None
    """Integration on the reference checkpoint's robust scale, [0, 1]; None when not measured."""
    endpoint: str | None = None
    """host:port of its gRPC server; None while it is down."""
    split: Split | None = None
    """How a spawned kernel came to be; None for one that has text of its own."""
    thresholds: Thresholds | None = None
    """Thresholds of refusal of its own, for one that joined or was split; None: the table's."""
    unlearned: tuple[str, ...] = ()
    """Sources of its training text that no longer count for its basin, in the order they went."""


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
