"""Make the folder for sockets and logs of a private Ray, which only its user may enter.

Ray opens the folder that it is given to every user (mode 0777, no sticky bit), so that another user
could put his own files in the place of Ray's. Therefore Ray gets a folder inside a private
folder, which has mode 0700 and which Ray does not change.

A process that uses the folder holds a shared lock on it (man 2 flock). systemd-tmpfiles keeps the
files of a locked folder, however old they are; a folder without a lock was left by a process that
was killed, and the next start removes it.
"""

import fcntl
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from constellation.errors import DeploymentError

logger = logging.getLogger(__name__)

PREFIX: Final = "cst"
"""Beginning of the names of these folders."""
_RAY: Final = "r"
_SOCKET_BYTES_MAX: Final = 107
"""Longest path of a socket, in bytes (man 7 unix)."""
_LONGEST: Final = (
    f"/{PREFIX}12345678/{_RAY}/session_2026-11-30_12-34-56_123456_4194304/sockets/plasma_store"
)
"""Longest path of a Ray socket below the folder for temporary files."""
_OTHERS: Final = ("/tmp", "/var/tmp")
"""Folders to try when the folder for temporary files of the environment is unsuitable."""


def ray_part(folder: Path) -> Path:
    """Return the subfolder of `folder` that is given to Ray."""
    return folder / _RAY


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a private folder with Ray's subfolder in it; remove it when the block ends.

    Folders that killed processes of the same user left are removed first.

    Raises:
        DeploymentError: No folder for temporary files will do; names each and says why.
    """
    base = find_base([tempfile.gettempdir(), *_OTHERS])
    sweep(base)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=base, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with held(folder):
            ray_part(folder).mkdir(mode=0o700)  # last, for `sweep` takes only folders with it
            yield folder


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock a folder while the block runs, against `sweep` and cleaners of old files."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except OSError as error:  # some network file systems have no locks
            logger.warning(
                "the folder cannot be locked: a cleaner of old files may empty it",
                extra={"path": str(folder), "reason": error.strerror},
            )
        yield
    finally:
        os.close(descriptor)


def sweep(base: Path) -> None:
    """Remove the folders in `base` that killed processes of this user left.

    Folders of other users, targets of links and folders locked by a process are kept.
    """
    for folder in sorted(base.glob(f"{PREFIX}*")):
        with suppress(OSError):  # somebody removes it at the same time, or holds it
            _remove_left(folder)


def _remove_left(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid() or not ray_part(folder).is_dir():
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
        logger.info("removed what a killed process left", extra={"path": str(folder)})
    finally:
        os.close(descriptor)


def find_base(candidates: list[str]) -> Path:
    """Return the first folder for temporary files that is safe and short enough for Ray's sockets.

    Raises:
        DeploymentError: No folder is suitable; the error names each with the reason.
    """
    reasons = []
    for candidate in dict.fromkeys(candidates):
        reason = unfit(Path(candidate))
        if reason is None:
            return Path(candidate).resolve()
        logger.warning("not taken for temporary files", extra={"path": candidate, "reason": reason})
        reasons.append(f"{candidate} {reason}")
    raise DeploymentError(
        f"Ray needs a folder for its sockets, and no folder is suitable: {'; '.join(reasons)}; "
        "set TMPDIR to a folder with a short path that only you may write to"
    )


def unfit(folder: Path) -> str | None:
    """Return why a folder is unsuitable for Ray's sockets; None when it is suitable."""
    try:
        path = folder.resolve(strict=True)
        owners = {0, os.geteuid(), os.stat("/").st_uid}  # root is another number in a container
        for part in (path, *path.parents):
            found = part.stat()
            if found.st_uid not in owners:
                return f"belongs to another user (at {part})"
            if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
                return f"lets other users replace files in {part}"
    except OSError as error:
        return f"cannot be inspected ({error.strerror})"
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        return "is not a folder that this user may write to"
    if not str(path).isascii():
        return "has letters in its path that Ray cannot read"
    room = _SOCKET_BYTES_MAX - len(_LONGEST)
    if len(str(path)) > room:
        return f"has a path of {len(str(path))} letters; socket paths leave room for {room}"
    return None
