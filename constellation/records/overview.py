"""Records of what an operator asks about a constellation beside its kernels and routers.

That is: which release is served since when, the latest releases, the nodes, and a training in the
same artifacts folder. The registry gathers these records and sends them to routers.
"""

from dataclasses import dataclass

from constellation.records.nodes import Node

RELEASES_LISTED = 10
"""Latest releases that are listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseSummary:
    """One release of the store, without its files."""

    number: int
    """From 1."""
    made_s: float
    """When it was written, seconds since the epoch."""
    change: str
    """What distinguishes it from its parent, in words such as "add sql"."""
    parent: int | None
    """Number of the release that it was made from; None for the first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeState:
    """A node, and how loaded it was some seconds ago."""

    node: Node
    num_processes: int
    """Processes of the constellation on the node that serve: registry, routers, kernels."""
    memory_free_bytes: int
    """Main memory that programs can still get; high is good."""
    load_ratio: float
    """Processes that ran or waited for a core, averaged over a minute, per core; above 1 the
    processes wait for each other."""
    disk_free_bytes: int
    """Room on the file system of the run folder; high is good."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelTraining:
    """How far the training of one kernel is."""

    kernel: str
    state: str
    """STAGED, RUNNING, STOPPED, FAILED or FINISHED."""
    step: int | None = None
    """Steps taken; None before the first, like all fields below."""
    num_steps: int | None = None
    bits_per_byte: float | None = None
    """Of the last batch; lower is better."""
    dev_bits_per_byte: float | None = None
    """Of held-out text at the last checkpoint; lower is better."""
    tokens_per_second: float | None = None
    """Training tokens read; high is good."""
    eta_s: float | None = None
    """Seconds until the kernel is finished, at this speed."""
    phase: str | None = None
    """FOAM, TACKING, CRYSTAL or FRACTURE; None when it was not measured."""
    guard: str | None = None
    """HEALTHY, WARN, PAUSED or RECOVERING."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingStatus:
    """The training that wrote last to an artifacts folder."""

    state: str
    """RUNNING, FAILED, STOPPED or FINISHED."""
    updated_s: float
    """When it said so, seconds since the epoch."""
    kernels: tuple[KernelTraining, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """All of this together, as the registry knows it."""

    release_since_s: float | None = None
    """Since when the release of the table is served, seconds since the epoch; None: unknown."""
    releases: tuple[ReleaseSummary, ...] = ()
    """The latest releases, at most ten, newest first."""
    nodes: tuple[NodeState, ...] = ()
    training: TrainingStatus | None = None
    """None when nothing was trained in the artifacts folder."""
