"""Load a kernel from its folder, with its coordizer; arguments of commands about one kernel."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from constellation.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from constellation.coordizer.coordizer import Coordizer
    from constellation.kernel.files.checkpoint import LoadedKernel

Kernel = Annotated[
    Path,
    typer.Argument(
        metavar="KERNEL_FOLDER", help="Folder of a trained kernel, such as ARTIFACTS/kernels/NAME."
    ),
]
NamedKernel = Annotated[
    Path,
    typer.Argument(
        metavar="KERNEL",
        help="Folder of a trained kernel; with --artifacts only the kernel's name, or the "
        "word seed for the seed kernel.",
    ),
]
CoordizerFolder = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the coordizer (tokenizer) that the kernel was trained with. "
        "(default: the coordizer of the kernel's training run)",
    ),
]
Text = Annotated[
    Path,
    typer.Option(
        help="File or folder of text to measure on; best is held-out text, which the kernel "
        "was not trained on.",
    ),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelFolder:
    """A loaded kernel and the coordizer that it was trained with, which were checked to match."""

    folder: Path
    kernel: "LoadedKernel"
    coordizer: "Coordizer"
    run: Path | None
    """Folder of the run that wrote the kernel; None where the kernel lies in no run's folder."""


def load(folder: Path, coordizer: Path | None = None) -> KernelFolder:
    """Read a kernel and its coordizer.

    Args:
        folder: Folder of the kernel: `RUN/kernels/NAME`, `RUN/seed` or any other.
        coordizer: Folder of the coordizer; None takes the coordizer of the run.

    Raises:
        ConfigError: The kernel is in no run's folder and no coordizer is given.
        ArtifactError: A file cannot be read, or the kernel was trained with another coordizer.
    """
    from constellation.coordizer.coordizer import Coordizer
    from constellation.kernel.adapters.kernel_folder import open_kernel

    kernel = open_kernel(folder)
    run = run_of(folder)
    if coordizer is None:
        if run is None:
            raise ConfigError(f"{folder} is not inside a run with a coordizer; give --coordizer")
        coordizer = run / "coordizer"
    loaded = Coordizer.load(coordizer)
    if loaded.tokenizer_hash != kernel.tokenizer_hash:
        raise ArtifactError(
            coordizer, f"is not the coordizer that {folder} was trained with; give --coordizer"
        )
    return KernelFolder(folder=folder, kernel=kernel, coordizer=loaded, run=run)


def named(kernel: Path, artifacts: Path | None) -> Path:
    """Return a kernel's folder: the path itself, or the kernel of that name in `artifacts`."""
    if artifacts is None:
        return kernel
    return artifacts / ("seed" if str(kernel) == "seed" else Path("kernels") / kernel)


def run_of(folder: Path) -> Path | None:
    """Return the run folder of a kernel: the nearest folder above it with a coordizer; or None."""
    above = folder.resolve().parents[:2]
    return next((path for path in above if (path / "coordizer").is_dir()), None)
