"""Records of changes of what is served: what may be asked for, and what has come of it.

A change makes a release and switches to it. Arrays are numpy, read-only by convention. Shapes: N
queries, K outcomes of the simplex.
"""

from dataclasses import dataclass

from constellation.records.array_types import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Reload:
    """Serve the current release of the store: what training has written since."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Add:
    """Serve a kernel whose files and whose record of text lie in the artifacts folder."""

    name: str
    """Name of the kernel."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spawn:
    """Share the queries of a kernel with a new kernel that begins with the same weights."""

    parent: str
    """Name of the kernel whose queries are shared."""
    name: str
    """Name of the new kernel."""
    queries_NK: FloatArray | None = None
    """Basins of queries that the parent answered last, filled in by the router; None before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retire:
    """Serve a kernel no more; its files stay in the artifacts folder."""

    name: str
    """Name of the kernel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unlearn:
    """Take a source of a kernel's text out of coordinates, basins and thresholds."""

    kernel: str
    """Name of the kernel."""
    source: str
    """Name of the source, or of a file that was cut into several."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RollBack:
    """Serve an earlier release again."""

    release: int | None = None
    """Number of the release; None means the parent of the one that is served."""


Change = Reload | Add | Spawn | Retire | Unlearn | RollBack


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed:
    """What a change has done to what is served."""

    release: int
    """Number of the release that is served since, from 1."""
    table_version: int
    """Version of the routers' table that holds since, from 1; 0 where nothing is served."""
    joined: tuple[str, ...] = ()
    """Kernels that are served since and were not before."""
    left: tuple[str, ...] = ()
    """Kernels that were served before and are no more."""
    reloaded: tuple[str, ...] = ()
    """Kernels that stayed and whose weights are others now."""
