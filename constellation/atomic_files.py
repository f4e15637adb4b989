"""Write files atomically: after a crash or a full disk a file has its old or its new content.

Disks may be full, read-only or removed at any moment. The functions do not interpret the content.
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
"""Error numbers of a file system that cannot make this hard link."""

_numbers = count()
"""Counter in the names of temporary files, so that threads of one process use different names."""


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file so that readers and crashes find the old or the new content, never a part.

    Args:
        path: The file; missing folders are made.
        content: The whole content.
        durable: Return only after the content is on disk (fsync), so that it survives a power cut.

    Raises:
        OSError: The file cannot be written; the old content stays, and no part of the new one is
            left.
    """
    with replaced_whole(path, durable=durable) as file:
        file.write(content)


@contextmanager
def replaced_whole(
    path: Path, *, durable: bool = True, mode: int | None = None
) -> Iterator[IO[bytes]]:
    """Yield an open temporary file that replaces `path` when the with block ends without an error.

    For content that is too large for memory; for smaller content `write_whole` is simpler.

    Args:
        path: The file that is replaced; missing folders are made.
        durable: As for `write_whole`.
        mode: Permissions of the new file; None means the process's default.

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
    """Create a file that must not exist; of two processes that create it, the second is refused.

    The file is on disk (fsync) when this returns.

    Args:
        path: The file; missing folders are made.
        content: The whole content.

    Raises:
        FileExistsError: The file exists, or another process is creating it; the file is not
            changed.
        OSError: The file cannot be written; no part of it is left.
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
    """Rename a file to an unused name, for file systems that cannot make hard links.

    Raises:
        FileExistsError: The name is in use, or another process is renaming a file to it.
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
    """Flush a folder to disk, so that renames into it and removals from it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_whole(path: Path, content: bytes) -> int:
    """Append the whole content to a file, or nothing; missing folders and files are created.

    Only one process at a time may append to a file. The files are logs: a folder that is created
    here is accessible to its user only.

    Returns:
        Size of the file afterwards, in bytes.

    Raises:
        OSError: The content cannot be written; a part that was appended is removed again.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            left = memoryview(content)
            while left:  # a disk that is nearly full writes only a part
                left = left[file.write(left) :]
        except OSError:
            with suppress(OSError):
                file.truncate(size)
            raise
    return size + len(content)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file in the folder of `path`; an error removes the file."""
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{next(_numbers)}.part")
    try:
        yield temporary
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, and flush their names to disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        with suppress(PermissionError):  # a folder may be writable and not readable
            sync_folder(path.parent)


def _finish(file: IO[bytes], *, durable: bool, mode: int | None) -> None:
    if mode is not None:
        os.fchmod(file.fileno(), mode)
    if durable:
        file.flush()
        os.fsync(file.fileno())
