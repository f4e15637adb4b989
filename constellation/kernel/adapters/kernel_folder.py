"""Load the kernel in a folder, be it a whole kernel or an adapter with its base."""

from pathlib import Path

import torch

from constellation.kernel.adapters.adapter_file import is_adapter, load_adapted
from constellation.kernel.files.checkpoint import LoadedKernel, load_kernel


def open_kernel(
    folder: Path | str, *, dtype: torch.dtype | None = None, shared: Path | None = None
) -> LoadedKernel:
    """Read a kernel of either kind.

    Args:
        folder: Where `save_kernel` wrote, or `save_adapter` beside the base.
        dtype: Of the weights in memory, an adapter's base's; None keeps the file's. Couplings stay
            in float32.
        shared: A folder where weights are kept for all processes, as for `load_kernel`.

    Raises:
        ArtifactError: If a file is missing or damaged, those that belong together do not, or a
            weight is not finite.
        IncompatibleKernels: If it is a model of `transformers`, which speaks other tokens.
    """
    if is_adapter(folder):
        return load_adapted(folder, dtype=dtype, shared=shared)
    return load_kernel(folder, dtype=dtype, shared=shared)
