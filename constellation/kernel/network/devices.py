"""The device on which a process serves its kernels, and the part of its memory that is its own.

Nothing here calls CUDA for a process that serves on the CPU: Ray leaves all GPUs visible to such a
process, and to ask for them takes memory there and in the process.
"""

import logging
from dataclasses import dataclass

import torch
from torch import nn

from constellation.errors import ConfigError, NotEnoughMemory

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingDevice:
    """A device, and how kernels are held on it."""

    device: torch.device
    dtype: torch.dtype | None = None
    """Of weights and caches; None keeps that of the files."""
    limit_bytes: int | None = None
    """Memory of the device that this process may use; None for no limit, as on the CPU."""

    @property
    def is_cpu(self) -> bool:
        """Whether kernels run on the CPU, with its own products and shared weights."""
        return self.device.type == "cpu"

    @property
    def used_bytes(self) -> int:
        """Memory of the device that tensors of this process take; 0 where it is not counted."""
        return torch.cuda.memory_allocated(self.device) if self.device.type == "cuda" else 0

    def check_room(self, kernels: str, needed_bytes: int) -> None:
        """Refuse kernels, named for the error, that do not fit beside what is there.

        Raises:
            NotEnoughMemory: They need more memory than is left of the limit.
        """
        if self.limit_bytes is None:
            return
        free_bytes = max(0, self.limit_bytes - self.used_bytes)
        if needed_bytes > free_bytes:
            raise NotEnoughMemory(
                kernels, needed_bytes=needed_bytes, free_bytes=free_bytes, num_nodes=1
            )


ON_CPU = ServingDevice(device=CPU)


def open_device(
    name: str, *, per_gpu: int = 1, weights: str = "float32", context_bytes: int = 0
) -> ServingDevice:
    """Return the device of this process, and hold the process to its part of the memory.

    Args:
        name: "cpu" or "cuda", the GPU that Ray gave this process.
        per_gpu: Processes that share a GPU, each with an equal part of its memory.
        weights: How kernels are held: "float32" or "bfloat16"; other formats only on the CPU.
        context_bytes: Memory that CUDA itself takes for every process.

    Raises:
        ConfigError: torch finds no GPU, or weights cannot be held so there.
    """
    if name == "cpu":
        return ON_CPU
    check_weights(name, weights)
    if not torch.cuda.is_available():
        raise ConfigError(
            f"kernel.device is {name!r} and torch finds no GPU in this process; install a torch "
            "with CUDA, or set kernel.device to 'cpu'"
        )
    device = torch.device("cuda", 0)
    memory_bytes = torch.cuda.get_device_properties(device).total_memory
    # CUDA's own memory is not counted by torch.
    limit_bytes = max(0, memory_bytes // per_gpu - context_bytes)
    torch.cuda.set_per_process_memory_fraction(limit_bytes / memory_bytes, device)
    logger.info("kernels run on a GPU", extra={"gpu": torch.cuda.get_device_name(device)})
    return ServingDevice(
        device=device,
        dtype=torch.bfloat16 if weights == "bfloat16" else None,
        limit_bytes=limit_bytes,
    )


def check_weights(device: str, weights: str) -> None:
    """Refuse formats of weights that only the CPU multiplies.

    Raises:
        ConfigError: It is int8 on a GPU.
    """
    if device == "cuda" and weights == "int8":
        raise ConfigError(
            "kernel.weights is 'int8', which only kernels on a CPU can be; set kernel.weights to "
            "'bfloat16', or kernel.device to 'cpu'"
        )


def move(module: nn.Module, device: torch.device, dtype: torch.dtype | None = None) -> None:
    """Move a network's tensors to a device; parameters take the data type, buffers keep theirs.

    Tensors that are tied stay tied. Buffers hold tables such as rotary angles, which lose their
    precision when they are rounded.
    """
    known: dict[int, nn.Parameter] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in known:
                there = parameter.detach().to(device, dtype)
                known[id(parameter)] = nn.Parameter(there, requires_grad=False)
            part._parameters[name] = known[id(parameter)]
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = buffer.to(device)
