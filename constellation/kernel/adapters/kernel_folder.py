"""Load the kernel in a folder, be it a whole kernel or an adapter with its base."""

from pathlib import Path

from constellation.kernel.adapters.adapter_file import is_adapter, load_adapted
from constellation.kernel.files.checkpoint import LoadedKernel, load_kernel


def open_kernel(folder: Path | str) -> LoadedKernel:
    """Read a kernel of either kind: what `save_kernel` wrote, or `save_adapter` beside the base.

    Raises:
        ArtifactError: If a file is missing or damaged, those that belong together do not, or a
            weight is not finite.
        IncompatibleKernels: If it is a model of `transformers`, which speaks other tokens.
    """
    if is_adapter(folder):
        return load_adapted(folder)
    return load_kernel(folder)
