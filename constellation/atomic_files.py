"""Write files whole or not at all, on disks that may be full, read-only or gone at any moment.

It knows nothing of what is written.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, Final

NO_LINKS: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
)
"""Numbers of the errors of a file system that makes no hard link, or none here."""

_numbers = count()
"""Tells apart what threads of this process write at once."""


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file so that readers and crashes find the old or the new content, never a part.

    Args:
        path: The file; missing folders are made.
        content: All of it.
        durable: Return when the disk has it, so that it survives a power cut.

    Raises:
        OSError: It cannot be written; the old content stays, and no part of the new one is left.
    """
    with replaced_whole(path, durable=durable) as file:
        file.write(content)


@contextmanager
def replaced_whole(
    path: Path, *, durable: bool = True, mode: int | None = None
) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of `path` when the enclosed work ends without an error.

    For content that is too large for memory; else `write_whole` is simpler.

    Args:
        path: The file that is replaced; missing folders are made.
        durable: As for `write_whole`.
        mode: Permissions of the new file; None takes those that the process gives.

    Raises:
        OSError: As for `write_whole`.
    """
    with _beside(path) as temporary:
        with temporary.open("wb") as file:
            yield file
            _finish(file, durable=durable, mode=mode)
        temporary.replace(path)
    if durable:
        sync_folder(path.parent)


def create_whole(path: Path, content: bytes) -> None:
    """Write a file that must not be there yet; of two who write one, the second is refused.

    The disk has the file when this returns.

    Args:
        path: The file; missing folders are made.
        content: All of it.

    Raises:
        FileExistsError: The file is there, or another process is writing it; it stays as it is.
        OSError: It cannot be written; no part of it is left.
    """
    with _beside(path) as temporary:
        with temporary.open("wb") as file:
            file.write(content)
            _finish(file, durable=True, mode=None)
        try:
            os.link(temporary, path)  # refuses to replace, which a rename does not
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            claim_whole(temporary, path)
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def claim_whole(temporary: Path, path: Path) -> None:
    """Rename a file to a name that is not taken, where the file system makes no hard links.

    Raises:
        FileExistsError: The name is taken, or another process is taking it.
    """
    claim = path.with_name(f".{path.name}.claim")
    os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    try:
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        temporary.rename(path)
    finally:
        claim.unlink()


def sync_folder(folder: Path) -> None:
    """Return when the disk has what was renamed into a folder and removed from it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_whole(path: Path, content: bytes) -> int:
    """Append to a file, all of the content or nothing; missing files and folders are made.

    One process at a time may append to a file. These are logs: a folder that is made is open to
    its user alone.

    Returns:
        Size of the file afterwards, in bytes.

    Raises:
        OSError: It cannot be written; what was appended of it is taken back.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            left = memoryview(content)
            while left:  # a disk that is nearly full takes a part
                left = left[file.write(left) :]
        except OSError:
            with suppress(OSError):
                file.truncate(size)
            raise
    return size + len(content)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file in the folder of `path`; an error removes that file."""
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{next(_numbers)}.part")
    try:
        yield temporary
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, so that the disk has their names."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        with suppress(PermissionError):  # one may be entered and written, and not be read
            sync_folder(path.parent)


def _finish(file: IO[bytes], *, durable: bool, mode: int | None) -> None:
    if mode is not None:
        os.fchmod(file.fileno(), mode)
    if durable:
        file.flush()
        os.fsync(file.fileno())
