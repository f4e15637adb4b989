"""List the kernels of a run's folder that are served, by the vocabulary that they use.

Other folders in `kernels/` belong to removed kernels, or not to the run.
"""

from pathlib import Path

from constellation.kernel.files.own_vocabulary import has_own_vocabulary, why_apart
from constellation.releases.store import ReleaseStore
from training.kernel_files import has_kernel, names_in


def kernel_folders(folder: Path) -> dict[str, Path]:
    """Return name -> folder of the kernels of a run's current release, sorted by name.

    A run that has no release yet has the kernels that are finished so far.

    Raises:
        ArtifactError: The release is damaged.
    """
    store = ReleaseStore(folder)
    if store.current() is not None:
        names = [kernel.name for kernel in store.read_current().kernels]
        kernels = store.current_folder() / "kernels"
    else:
        kernels = folder / "kernels"
        names = [name for name in names_in(kernels) if has_kernel(kernels / name)]
    return {name: kernels / name for name in sorted(names)}


def speaking_folders(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the kernels that use the run's own tokens, and why each other kernel is left out.

    Raises:
        ArtifactError: The release is damaged.
    """
    found = kernel_folders(folder)
    others = {name: why_apart(path) for name, path in found.items() if has_own_vocabulary(path)}
    return {name: path for name, path in found.items() if name not in others}, others
