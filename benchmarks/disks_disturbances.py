"""What `benchmarks.disks` does to the folders of its constellation, and how it takes that back.

Each of the three lies on a small disk of its own, made in memory: only the superuser may do that.
For others folders can be removed, and the rest is left out.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PLACES = ("run", "artifacts", "temporary")
KINDS = ("full", "read-only", "removed")
DISK_MB = {"run": 256, "artifacts": 512, "temporary": 256}
_BALLAST = "ballast"


@dataclass(frozen=True, slots=True)
class Disks:
    """The disks, each with one folder on it."""

    base: Path
    has_disks: bool
    """Whether every place is a disk of its own; otherwise folders can only be removed."""

    def disk(self, place: str) -> Path:
        """Return where a disk is mounted."""
        return self.base / place[:3]  # Ray's sockets lie in one, and their paths must be short

    def folder(self, place: str) -> Path:
        """Return the folder on a disk."""
        return self.disk(place) / "x"

    def kinds(self) -> tuple[str, ...]:
        """Return what can be done here."""
        return KINDS if self.has_disks else ("removed",)

    @contextmanager
    def disturbed(self, place: str, kind: str) -> Iterator[None]:
        """Do it to a folder; take it back at the end, but for what was removed for good."""
        if kind == "full":
            with _full(self.disk(place)):
                yield
        elif kind == "read-only":
            with _read_only(self.disk(place)):
                yield
        else:
            with _removed(self.folder(place), comes_back=place == "artifacts"):
                yield


@contextmanager
def disks(base: Path) -> Iterator[Disks]:
    """Make the disks below a folder, and remove them at the end."""
    made = Disks(base, has_disks=_can_mount(base))
    with ExitStack() as mounted:
        for place in PLACES:
            made.disk(place).mkdir()
            if made.has_disks:
                mounted.enter_context(_mounted(made.disk(place), DISK_MB[place]))
            made.folder(place).mkdir()
        yield made


def _can_mount(base: Path) -> bool:
    """Say whether this user may make disks: in a container not even the superuser always may."""
    try:
        with _mounted(base, 1):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def _mounted(folder: Path, size_mb: int) -> Iterator[None]:
    _run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder))
    try:
        yield
    finally:
        _run("umount", "-l", str(folder))


@contextmanager
def _full(disk: Path) -> Iterator[None]:
    ballast = disk / _BALLAST
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        for size in (2**20, 2**12, 1):
            with suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def _read_only(disk: Path) -> Iterator[None]:
    """Put the same disk over itself without the right to write; files that are open stay so."""
    _run("mount", "--bind", str(disk), str(disk))
    try:
        _run("mount", "-o", "remount,bind,ro", str(disk))
        yield
    finally:
        _run("umount", "-l", str(disk))


@contextmanager
def _removed(folder: Path, *, comes_back: bool) -> Iterator[None]:
    if not comes_back:
        shutil.rmtree(folder, ignore_errors=True)  # somebody may be writing there
        yield
        return
    away = folder.with_name("away")
    folder.rename(away)
    try:
        yield
    finally:
        away.rename(folder)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)
