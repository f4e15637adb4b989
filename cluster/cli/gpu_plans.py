"""What `plan` says of GPUs: the memory of the kernels of each process, and how many fit."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from cluster.cli import output_format

if TYPE_CHECKING:
    from constellation.kernel.network.config import KernelConfig
    from constellation.runtime.capacity import DevicePlan
    from constellation.settings import KernelSettings


def gpu_memories(memory_gb: float | None) -> list[int]:
    """Return the memory of every GPU in bytes: of one imagined GPU, or of those of this machine."""
    if memory_gb is not None:
        return [int(memory_gb * 1e9)]
    import torch

    count = torch.cuda.device_count()
    return [torch.cuda.get_device_properties(index).total_memory for index in range(count)]


def gpu_plans(
    config: "KernelConfig",
    settings: "KernelSettings",
    memories: Sequence[int],
    *,
    slots: int,
    num_kernels: int | None,
) -> "list[DevicePlan]":
    """Return the plan of one process on every GPU; all processes of a GPU are alike.

    Args:
        config: Shape of every kernel.
        settings: Number format, and processes that share a GPU.
        memories: Memory of every GPU in bytes.
        slots: Answers that one kernel writes at the same time.
        num_kernels: Kernels, shared out evenly over all processes; None plans for as many as fit.
    """
    import torch

    from constellation.runtime.capacity import DeviceLoad, plan_device

    dtype = torch.float32 if settings.weights == "float32" else torch.bfloat16
    load = DeviceLoad(
        weights_bytes=config.num_parameters() * dtype.itemsize,
        slots=slots,
        context=config.context,
        kv_bytes_per_token=config.kv_bytes_per_token(dtype),
        vocab_size=config.vocab_size,
        prefix_bytes=settings.prefix_mib * 2**20,
    )
    per_gpu, plans = settings.per_gpu, []
    for memory in memories:
        empty = plan_device(load, memory_bytes=memory, num_kernels=0, per_gpu=per_gpu)
        each = empty.num_fitting
        if num_kernels is not None:
            each = -(-num_kernels // (len(memories) * per_gpu))
        plans.append(plan_device(load, memory_bytes=memory, num_kernels=each, per_gpu=per_gpu))
    return plans


def as_documents(plans: "Sequence[DevicePlan]") -> list[dict[str, object]]:
    """Return the plans as JSON values."""
    return [asdict(each) | {"total_bytes": each.total_bytes, "fits": each.fits} for each in plans]


def print_plans(plans: "Sequence[DevicePlan]", per_gpu: int) -> None:
    """Print a row for every GPU."""
    names = ("context", "weights", "cache", "prompts", "workspace", "reload", "memory", "of")
    shown = output_format.table("GPU", "kernels", *names, "fit", numbers=("kernels", *names, "fit"))
    for number, each in enumerate(plans):
        sizes = (
            each.context_bytes,
            each.weights_bytes,
            each.cache_bytes,
            each.prefix_bytes,
            each.workspace_bytes,
            each.reload_bytes,
            each.total_bytes,
            each.limit_bytes,
        )
        part = "" if per_gpu == 1 else f", each of {per_gpu}"
        row = [f"{number}{part}", str(each.num_kernels), *map(output_format.size, sizes)]
        shown.add_row(*row, str(each.num_fitting))
    output_format.stdout().print(shown)
