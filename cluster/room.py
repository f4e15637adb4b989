"""Is there room in the run folder? Asked before anything is started that would need it."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from constellation.errors import DeploymentError
from constellation.settings import Settings

SMALL_BYTES: Final = 2 * 2**20
"""For the table, the state and the first lines of the logs."""
_WEIGHTS: Final = "weights.safetensors"
_DESCRIPTION: Final = "kernel.json"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_CANNOT_RESERVE: Final = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def check_room(settings: Settings) -> None:
    """Refuse a run folder that cannot hold what a constellation writes when it starts.

    Raises:
        DeploymentError: The disk is full, the quota is used up, or the folder cannot be written.
    """
    folder, needed = settings.run_dir, needed_bytes(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _reserve(folder, needed)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        if error.errno not in _FULL:
            raise DeploymentError(
                f"cannot write to {folder}: {why}; choose another folder with --run-dir"
            ) from error
        free = f"{_free_bytes(folder) / 1e6:.0f} MB are free"
        raise DeploymentError(
            f"no space left in {folder}: needs {needed / 1e6:.0f} MB, {free} ({why}); free some, "
            "or choose another folder with --run-dir"
        ) from error


def needed_bytes(settings: Settings) -> int:
    """Return what is written when a constellation starts, in bytes: at most, where kernels differ.

    The copies of weights that processes map are nearly all of it; those that an earlier
    constellation left are removed first, and are not counted twice.
    """
    kept = settings.run_dir / "weights"
    earlier = sum(path.stat().st_size for path in kept.glob("*.safetensors"))
    copies = {_hash_of(path): (path / _WEIGHTS).stat().st_size for path in _mapped(settings)}
    return SMALL_BYTES + max(0, sum(copies.values()) - earlier)


def _mapped(settings: Settings) -> Iterator[Path]:
    """Yield the folders of the weights that processes map: kernels, and bases of adapters."""
    artifacts, kernel = settings.artifacts, settings.kernel
    folders = sorted((artifacts / "kernels").glob("[!.]*"))
    if not (kernel.per_actor > 1 and kernel.weights == "float32"):  # else they are copied to memory
        yield from (path for path in folders if (path / _DESCRIPTION).exists())
    if any((path / "adapter.safetensors").exists() for path in folders):
        bases = [artifacts / "seed", *sorted((artifacts / "bases").glob("[!.]*"))]
        yield from (path for path in bases if (path / _DESCRIPTION).exists())


def _hash_of(folder: Path) -> str:
    """Return whose copy it will be: kernels with the same weights share one."""
    try:
        return str(json.loads((folder / _DESCRIPTION).read_text("utf-8"))["weights_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(folder)  # damaged, which its process will say


def _reserve(folder: Path, num_bytes: int) -> None:
    """Take that much and give it back at once: what is free says nothing of quotas."""
    with tempfile.TemporaryFile(dir=folder) as file:
        if num_bytes > _free_bytes(folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
