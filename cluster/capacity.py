"""How many kernels fit into a memory and what they cost. Pure: measured speeds are arguments.

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
    """Memory that processes need beside weights and caches, in bytes.

    Measured as private and proportional memory (USS, PSS) of a `constellation up` with three toy
    kernels that had given 150 answers each, Linux x86-64, Python 3.11, Ray 2.60, torch 2.13 for
    the CPU, 2026-11-22: 45 MiB USS and 77 MiB PSS per kernel (39 USS before the first answer), 39
    and 41 MiB USS for registry and router, 191 MiB that they all share with the fork server, 22 MiB
    USS for that, 87 MiB for the launcher, 341 MiB for Ray's seven processes. Where workers are not
    forked (another system than Linux, a cluster that somebody else started) a kernel takes 196.
    """

    kernel_bytes: int = 45 * _MIB
    """One kernel process: Python, Ray's worker, torch, gRPC; what it does not share."""
    shared_bytes: int = (191 + 22) * _MIB
    """What all processes that are forked share, and the process that they are forked from."""
    router_bytes: int = 41 * _MIB
    registry_bytes: int = 39 * _MIB
    daemons_bytes: int = (341 + 87) * _MIB
    """Ray's own processes and the launcher."""

    @property
    def fixed_bytes(self) -> int:
        """What is needed before the first kernel."""
        return self.shared_bytes + self.router_bytes + self.registry_bytes + self.daemons_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What is to be hosted."""

    config: KernelConfig
    """The shape of every kernel."""
    slots: int
    """Answers one kernel writes at the same time, each with a cache for the whole context."""
    num_kernels: int | None = None
    """Kernels wanted; None asks for as many as fit."""
    dtype: torch.dtype = torch.float32
    """Of weights and caches."""
    prefix_bytes: int = 0
    """What one process may keep of prompts that it has read."""
    per_actor: int = 1
    """Kernels of one process, which are stacked when they are several."""

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ConfigError(f"slots is {self.slots}; allowed: 1 or more")
        if not 1 <= self.per_actor <= 240:
            raise ConfigError(f"per_actor is {self.per_actor}; allowed: 1 to 240")
        if self.num_kernels is not None and not 1 <= self.num_kernels <= 240:
            raise ConfigError(f"num_kernels is {self.num_kernels}; allowed: 1 to 240")


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What is there to host it."""

    memory_bytes: int
    """Memory that may be used."""
    num_cores: int
    decode_tokens_per_second: float | None = None
    """Measured: one kernel of this shape writing one answer on one core; None: not measured."""

    def __post_init__(self) -> None:
        if self.memory_bytes < 0 or self.num_cores < 1:
            raise ConfigError(
                f"need memory >= 0 and a core or more, got {self.memory_bytes} bytes and "
                f"{self.num_cores} cores"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What hosting costs. Sizes in bytes."""

    num_parameters: int
    """Of one kernel."""
    weights_bytes: int
    """Of one kernel."""
    layout_bytes: int
    """Of one kernel: its matrices once more, laid out for several answers at a time; 0 in a
    stack."""
    cache_bytes: int
    """Of one kernel with all slots full, and its share of the prompts that are kept."""
    process_bytes: int
    """One kernel's share of the overhead of its process, when that is full."""
    kernel_bytes: int
    """One kernel actor in all: the four above."""
    fixed_bytes: int
    """Router, registry, launcher and Ray's daemons."""
    num_fitting: int
    """Kernels that fit into the memory, at most 240: the seats."""
    num_kernels: int
    """Kernels planned: those asked for, else those that fit."""
    num_actors: int
    """Ray actors: processes of kernels, a router and a registry; 0 without a kernel."""
    total_bytes: int
    """For the planned kernels; 0 without any."""
    fits: bool
    """True when the planned kernels, one at least, fit."""
    flops_per_token: int
    """Forward FLOPs of a token that sees half of the context."""
    tokens_per_second_kernel: float | None
    """One kernel writing one answer, alone; None when not measured."""
    tokens_per_second_all: float | None
    """All kernels together when each writes one answer, the cores shared out."""


NUM_SEATS: Final = 240
"""Kernels a constellation has seats for: the E8 roots."""


def make_plan(load: Load, machine: Machine, overheads: Overheads | None = None) -> Plan:
    """Return what the wanted kernels cost on the machine.

        cache  = slots * context * bytes per cached token + prefixes
        own    = weights + layouts + cache
        total  = fixed + num_kernels * own + num_processes * process overhead

    Left out: the working memory of a prompt being read, and the page cache of the weight files.
    The speed of all together takes cores for the only thing that kernels compete for; large ones
    compete for the memory's bandwidth too and stay below it.
    """
    overheads = overheads or Overheads()
    config = load.config
    weights = config.num_parameters() * load.dtype.itemsize
    layouts = weights if load.slots > NARROW_ROWS and load.per_actor == 1 else 0
    per_slot = config.context * config.kv_bytes_per_token(load.dtype)
    cache = load.slots * per_slot + load.prefix_bytes // load.per_actor
    own, process = weights + layouts + cache, overheads.kernel_bytes
    free = max(0, machine.memory_bytes - overheads.fixed_bytes)
    num_full, rest = divmod(free, load.per_actor * own + process)
    fitting = num_full * load.per_actor + max(0, rest - process) // own
    fitting = min(NUM_SEATS, fitting)
    planned = fitting if load.num_kernels is None else load.num_kernels
    num_processes = -(-planned // load.per_actor)
    total = overheads.fixed_bytes + planned * own + num_processes * process
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
