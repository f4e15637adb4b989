"""Write files whole or not at all, on disks that may be full, read-only or gone at any moment.

For small files: all of the content is in memory. It knows nothing of what is written.
"""

import os
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file so that readers and crashes find the old or the new content, never a part.

    Args:
        path: The file; missing folders are made.
        content: All of it.
        durable: Return when the disk has it, so that it survives a power cut.

    Raises:
        OSError: It cannot be written; the old content stays, and no part of the new one is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
