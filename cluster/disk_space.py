"""Check, before a constellation is started, that its run folder has enough disk space."""

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from constellation.errors import DeploymentError
from constellation.releases.manifest import Blob, Engine
from constellation.releases.store import ReleaseStore
from constellation.settings import Settings

SMALL_BYTES: Final = 2 * 2**20
"""Space for the table, the state file and the first lines of the logs."""
_WEIGHTS: Final = "weights.safetensors"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_CANNOT_RESERVE: Final = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def check_room(settings: Settings) -> None:
    """Raise when the run folder cannot hold the files that a constellation writes when it starts.

    Raises:
        DeploymentError: The disk is full, the quota is used up, or the folder cannot be written.
        ArtifactError: The current release is damaged.
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
    """Return an upper limit, in bytes, of what a constellation writes when it starts.

    Nearly all of it are the copies of weights that processes map. Copies that an earlier
    constellation left are removed first, and are not counted twice.
    """
    kept = settings.run_dir / "weights"
    earlier = sum(path.stat().st_size for path in kept.glob("*.safetensors"))
    # Kernels with the same weights share one copy.
    copies = {blob.sha256: blob.size_bytes for blob in _mapped(settings)}
    return SMALL_BYTES + max(0, sum(copies.values()) - earlier)


def _mapped(settings: Settings) -> Iterator[Blob]:
    """Yield the weight files that processes memory-map: those of kernels and of adapter bases."""
    store, kernel = ReleaseStore(settings.artifacts), settings.kernel
    if store.current() is None:
        return  # nothing will be served, which the launcher says
    release = store.read_current()
    if not (kernel.per_actor > 1 and kernel.weights == "float32"):  # else they are copied to memory
        own = (each for each in release.kernels if each.engine is Engine.DECODER)
        yield from (each.files[_WEIGHTS] for each in own)
    yield from (files[_WEIGHTS] for files in release.bases.values())


def _reserve(folder: Path, num_bytes: int) -> None:
    """Reserve disk space and free it at once: the free space alone does not show quotas."""
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
