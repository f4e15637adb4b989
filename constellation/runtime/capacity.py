"""How much memory of a GPU the kernels of one process take, and how many fit: a pure plan.

    total = context + workspace + kernels + reload

A process allocates no more than the plan: keys and values get the memory of all their texts at
once, and the process is held to its part of the GPU (`constellation.kernel.network.devices`).
"""

from dataclasses import dataclass
from typing import Final

from constellation.errors import ConfigError

CONTEXT_BYTES: Final = 600 * 2**20
"""Memory that CUDA itself takes for each process on a GPU: about half a gigabyte, and libraries."""
WORKSPACE_BYTES: Final = 256 * 2**20
"""Memory for the numbers of a pass of the model, beside those of sampling."""
SAMPLING_BYTES: Final = 64
"""Memory for sampling, for each text and each token of the vocabulary: logits in float32, and some
copies in float64 with their order."""
SPARE: Final = 16
"""Storages of a stack have room for one more kernel in so many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceLoad:
    """The kernels of one process on its part of a GPU; all of one shape, or of the largest."""

    weights_bytes: int
    """Weights of one kernel, in the number format in which they are served."""
    slots: int
    """Texts that one kernel writes at the same time."""
    context: int
    """Tokens of a text, with room for all of which a slot is planned."""
    kv_bytes_per_token: int
    """Keys and values of one token in one kernel."""
    vocab_size: int
    prefix_bytes: int = 0
    """Memory of the process for prompts that were read."""
    reloads: bool = True
    """Whether there must be room for the next release beside the one that is served."""

    def __post_init__(self) -> None:
        sizes = {
            "weights_bytes": self.weights_bytes,
            "slots": self.slots,
            "context": self.context,
            "kv_bytes_per_token": self.kv_bytes_per_token,
            "vocab_size": self.vocab_size,
        }
        for name, size in sizes.items():
            if size < 1:
                raise ConfigError(f"{name} is {size}; allowed: from 1")
        if self.prefix_bytes < 0:
            raise ConfigError(f"prefix_bytes is {self.prefix_bytes}; allowed: from 0")

    @property
    def cache_bytes(self) -> int:
        """Keys and values of one kernel with all slots full."""
        return self.slots * self.context * self.kv_bytes_per_token

    @property
    def stored_bytes(self) -> int:
        """One kernel's weights in a stack with spare room, and its keys and values."""
        return -(-self.weights_bytes * (SPARE + 1) // SPARE) + self.cache_bytes

    @property
    def fixed_bytes(self) -> int:
        """Memory of the process before the first kernel."""
        return CONTEXT_BYTES + WORKSPACE_BYTES + self.prefix_bytes

    @property
    def bytes_per_kernel(self) -> int:
        """Memory that every kernel adds, with its part of sampling and of the next release."""
        sampling = self.slots * self.vocab_size * SAMPLING_BYTES
        return self.stored_bytes * (2 if self.reloads else 1) + sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class DevicePlan:
    """Memory of the kernels of one process on its part of a GPU, in bytes."""

    limit_bytes: int
    """The process's part of the GPU."""
    context_bytes: int
    weights_bytes: int
    """Weights of all kernels, with the spare room of their storage."""
    cache_bytes: int
    """Keys and values of all kernels with all slots full."""
    prefix_bytes: int
    workspace_bytes: int
    """Numbers of a pass and of sampling, with all slots full."""
    reload_bytes: int
    """Room for the next release beside the one that is served; 0 without reloads."""
    num_kernels: int
    num_fitting: int
    """Kernels that fit into the part."""

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return (
            self.context_bytes
            + self.weights_bytes
            + self.cache_bytes
            + self.prefix_bytes
            + self.workspace_bytes
            + self.reload_bytes
        )

    @property
    def fits(self) -> bool:
        """Whether all kernels fit."""
        return self.num_kernels <= self.num_fitting


def plan_device(
    load: DeviceLoad, *, memory_bytes: int, num_kernels: int, per_gpu: int = 1
) -> DevicePlan:
    """Return the memory of kernels in one of the processes that share a GPU.

    Args:
        load: One of the kernels.
        memory_bytes: Memory of the GPU.
        num_kernels: Kernels of the process, from 0.
        per_gpu: Processes that share the GPU in equal parts, from 1.

    Raises:
        ConfigError: A number is out of range.
    """
    if memory_bytes < 0 or num_kernels < 0 or per_gpu < 1:
        raise ConfigError(
            f"need memory >= 0, kernels >= 0 and per_gpu >= 1, got {memory_bytes} bytes, "
            f"{num_kernels} and {per_gpu}"
        )
    limit_bytes = memory_bytes // per_gpu
    stored = num_kernels * load.stored_bytes
    cache = num_kernels * load.cache_bytes
    sampling = num_kernels * load.slots * load.vocab_size * SAMPLING_BYTES
    free = max(0, limit_bytes - load.fixed_bytes)
    return DevicePlan(
        limit_bytes=limit_bytes,
        context_bytes=CONTEXT_BYTES,
        weights_bytes=stored - cache,
        cache_bytes=cache,
        prefix_bytes=load.prefix_bytes,
        workspace_bytes=WORKSPACE_BYTES + sampling,
        reload_bytes=stored if load.reloads else 0,
        num_kernels=num_kernels,
        num_fitting=free // load.bytes_per_kernel,
    )
