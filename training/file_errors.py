"""Turn operating system errors of reading and writing a folder into `ArtifactError`."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from constellation.errors import ArtifactError

_ROOM_BYTES: Final = 2**16
"""Free space in bytes below which a disk counts as full."""


@contextmanager
def typed_writes(folder: Path) -> Iterator[None]:
    """Turn an OSError raised in the block into an ArtifactError with the file and the reason.

    Args:
        folder: Folder that is written, named by errors that name no file.

    Raises:
        ArtifactError: A file cannot be read or written: the disk is full or read-only, a path is
            a file where a folder must be, or may not be entered.
    """
    try:
        yield
    except ConnectionError:  # of a terminal or pipe that is gone, not of the folder
        raise
    except OSError as error:
        raise ArtifactError(
            error.filename or folder,
            f"cannot be written or read: {_reason(error, folder)}; fix that and run the same "
            "command again, which resumes after the finished parts",
        ) from error


def _reason(error: OSError, folder: Path) -> str:
    if error.strerror:
        return error.strerror
    with suppress(OSError):  # numpy says only how much of an array was written
        if shutil.disk_usage(folder).free < _ROOM_BYTES:
            return f"No space left on device ({error})"
    return str(error)
