"""Compute how many kernels fit into a given memory, and the memory and speed of each. Pure.

The parameter, FLOP and cache formulas are the kernel's own (`KernelConfig`); the overheads of
processes are measured and written down here with their source.
"""

from dataclasses import dataclass
from typing import Final

import torch

from constellation.errors import ConfigError
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.writing.fast_products import NARROW_ROWS

_MIB: Final = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Overheads:
    """Memory in bytes that processes need in addition to weights and caches.

    Measured as private and proportional memory (USS, PSS) of a `constellation up` with three toy
    kernels that had given 150 answers each, Linux x86-64, Python 3.11, Ray 2.60, torch 2.13 for
    the CPU, 2026-11-22: 45 MiB USS and 77 MiB PSS per kernel (39 USS before the first answer), 39
    and 41 MiB USS for registry and router, 191 MiB that they all share with the fork server, 22 MiB
    USS for that, 87 MiB for the launcher, 341 MiB for Ray's seven processes. Where workers are not
    forked (another system than Linux, a Ray cluster that was joined) a kernel takes 196.
    """

    kernel_bytes: int = 45 * _MIB
    """Memory of one kernel process that it does not share: Python, Ray's worker, torch, gRPC."""
    shared_bytes: int = (191 + 22) * _MIB
    """Memory that all forked processes share, plus that of the process they are forked from."""
    router_bytes: int = 41 * _MIB
    registry_bytes: int = 39 * _MIB
    daemons_bytes: int = (341 + 87) * _MIB
    """Memory of Ray's own processes and of the launcher."""

    @property
    def fixed_bytes(self) -> int:
        """Memory in bytes that is needed before the first kernel starts."""
        return self.shared_bytes + self.router_bytes + self.registry_bytes + self.daemons_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """The kernels to be hosted: number, shape, and settings that cost memory."""

    config: KernelConfig
    """Shape (architecture) of every kernel."""
    slots: int
    """Replies that one kernel writes at the same time, each with a cache for the whole context."""
    num_kernels: int | None = None
    """Number of kernels wanted; None asks for as many as fit."""
    dtype: torch.dtype = torch.float32
    """Data type of weights and caches."""
    prefix_bytes: int = 0
    """Memory of one process for caching prompts that it has read, in bytes."""
    per_actor: int = 1
    """Kernels per process; several kernels of one process are stacked."""
    replicas: int = 1
    """Processes that serve each kernel."""

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ConfigError(f"slots is {self.slots}; allowed: 1 or more")
        if not 1 <= self.per_actor <= 240:
            raise ConfigError(f"per_actor is {self.per_actor}; allowed: 1 to 240")
        if self.num_kernels is not None and not 1 <= self.num_kernels <= 240:
            raise ConfigError(f"num_kernels is {self.num_kernels}; allowed: 1 to 240")


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The machine that is to host the kernels."""

    memory_bytes: int
    """Memory that may be used, in bytes."""
    num_cores: int
    decode_tokens_per_second: float | None = None
    """Measured speed of one kernel of this shape that writes one reply on one core; None when it
    was not measured."""

    def __post_init__(self) -> None:
        if self.memory_bytes < 0 or self.num_cores < 1:
            raise ConfigError(
                f"need memory >= 0 and a core or more, got {self.memory_bytes} bytes and "
                f"{self.num_cores} cores"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Memory and speed of the planned kernels. Sizes in bytes."""

    num_parameters: int
    """Parameters of one kernel."""
    weights_bytes: int
    """Weights of one kernel."""
    layout_bytes: int
    """Second copy of one kernel's matrices, laid out for several replies at a time; 0 in a
    stack."""
    cache_bytes: int
    """Cache of one kernel with all slots full, and its share of the cached prompts."""
    process_bytes: int
    """One kernel's share of the overhead of its process, when the process is full."""
    kernel_bytes: int
    """One kernel in all: the sum of weights, layouts, cache and process overhead."""
    fixed_bytes: int
    """Router, registry, launcher and Ray's daemons together."""
    num_fitting: int
    """Number of kernels that fit into the memory, at most 240, the number of seats."""
    num_kernels: int
    """Number of kernels planned: the number wanted, else the number that fits."""
    num_actors: int
    """Ray actors: processes of kernels, a router and a registry; 0 without a kernel."""
    total_bytes: int
    """All planned kernels and the fixed part together; 0 when no kernel is planned."""
    fits: bool
    """True when at least one kernel is planned and all planned kernels fit."""
    flops_per_token: int
    """Forward FLOPs of one token that attends to half of the context."""
    tokens_per_second_kernel: float | None
    """Speed of one kernel writing one reply alone; None when it was not measured."""
    tokens_per_second_all: float | None
    """Speed of all kernels together, each writing one reply, with the cores shared evenly."""


NUM_SEATS: Final = 240
"""Largest number of kernels of a constellation: the roots of E8."""


def make_plan(load: Load, machine: Machine, overheads: Overheads | None = None) -> Plan:
    """Return the memory and speed of the wanted kernels on a machine.

        cache  = slots * context * bytes per cached token + prefixes
        own    = weights + layouts + cache
        total  = fixed + replicas * num_kernels * own + num_processes * process overhead

    Left out: the working memory of a prompt being read, and the page cache of the weight files.
    The speed of all kernels together assumes that kernels compete for cores only; large kernels
    compete for memory bandwidth too and are slower than this estimate.
    """
    overheads = overheads or Overheads()
    config = load.config
    weights = config.num_parameters() * load.dtype.itemsize
    layouts = weights if load.slots > NARROW_ROWS and load.per_actor == 1 else 0
    per_slot = config.context * config.kv_bytes_per_token(load.dtype)
    cache = load.slots * per_slot + load.prefix_bytes // load.per_actor
    own, process = weights + layouts + cache, overheads.kernel_bytes
    copies = load.replicas
    free = max(0, machine.memory_bytes - overheads.fixed_bytes)
    num_full, rest = divmod(free // copies, load.per_actor * own + process)
    fitting = num_full * load.per_actor + max(0, rest - process) // own
    fitting = min(NUM_SEATS, fitting)
    planned = fitting if load.num_kernels is None else load.num_kernels
    num_processes = copies * -(-planned // load.per_actor)
    total = overheads.fixed_bytes + copies * planned * own + num_processes * process
    speed = machine.decode_tokens_per_second
    return Plan(
        num_parameters=config.num_parameters(),
        weights_bytes=weights,
        layout_bytes=layouts,
        cache_bytes=cache,
        process_bytes=process // load.per_actor,
        kernel_bytes=own + process // load.per_actor,
        fixed_bytes=overheads.fixed_bytes,
        num_fitting=fitting,
        num_kernels=planned,
        num_actors=num_processes + 2 if planned else 0,
        total_bytes=total if planned else 0,
        fits=0 < planned <= fitting,
        flops_per_token=config.flops_per_token(max(1, config.context // 2)),
        tokens_per_second_kernel=speed,
        tokens_per_second_all=None if speed is None else speed * min(planned, machine.num_cores),
    )
