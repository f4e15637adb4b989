"""Records of changes of the served kernels (add, spawn, retire, unlearn, ...) and of the result.

A change writes a release (an immutable set of kernels, coordizer and routing table) and switches to
it; `Rebalance` makes no release. Arrays are numpy, read-only by convention. Shapes: N queries, K
outcomes of the simplex.
"""

from dataclasses import dataclass

from constellation.records.array_types import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Reload:
    """Serve the current release of the store, such as one that training has written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Add:
    """Add a kernel whose files and record of training text lie in the artifacts folder."""

    name: str
    """Name of the kernel to add."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spawn:
    """Create a kernel with another kernel's weights; the two share that kernel's queries."""

    parent: str
    """Name of the kernel whose queries are shared."""
    name: str
    """Name of the new kernel."""
    queries_NK: FloatArray | None = None
    """Basins (simplex points) of the parent's latest queries, set by the router; None before
    that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retire:
    """Stop serving a kernel; its files stay in the artifacts folder."""

    name: str
    """Name of the kernel to remove."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unlearn:
    """Remove one source of a kernel's text from all that decides routing; weights do not change."""

    kernel: str
    """Name of the kernel."""
    source: str
    """Name of the source, or of a file that was cut into several sources."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RollBack:
    """Serve an earlier release again."""

    release: int | None = None
    """Number of the release; None means the parent of the current release."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebalance:
    """Move kernels between nodes until the nodes are about equally full; makes no release."""


Change = Reload | Add | Spawn | Retire | Unlearn | RollBack | Rebalance


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed:
    """Result of a change: the release now served, and the kernels added, removed and reloaded."""

    release: int
    """Number of the release that is now served, from 1."""
    table_version: int
    """Version of the routing table that the routers now use, from 1; 0 when no process is
    serving."""
    joined: tuple[str, ...] = ()
    """Kernels that are served now and were not served before."""
    left: tuple[str, ...] = ()
    """Kernels that were served before and are not served now."""
    reloaded: tuple[str, ...] = ()
    """Kernels that are still served, with changed weights."""
    moved: tuple[str, ...] = ()
    """Kernels that other processes serve than before."""
