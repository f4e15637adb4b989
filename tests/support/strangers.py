"""What may another user of the machine do to the files and sockets of our processes?

`places_to_guard` finds from the system itself what a tree of processes has open. `open_to_others`
judges places by the modes on the way from / to them; `try_as_stranger` really tries, which takes
root.
"""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from cluster.private_folder import PREFIX

IS_ROOT = os.geteuid() == 0
STRANGER = 65_534
"""User and group id of `nobody`."""
INSTALLED = tuple(map(Path, (sys.prefix, sys.base_prefix, "/usr", "/lib", "/dev/null")))
"""Programs and what comes with them: who may write there is not for us to say."""

# Each of these is without harm where it succeeds.
_TRY = """
import os, socket, stat, sys
os.setgroups([]); os.setresgid(*[{stranger}] * 3); os.setresuid(*[{stranger}] * 3)
def attempt(what, path, act):
    try:
        act()
    except OSError:
        return
    print(what, path)
for path in sys.stdin.read().split("\\0"):
    mode = os.lstat(path).st_mode if os.path.lexists(path) else 0
    attempt("enters", path, lambda: os.chdir(path))
    attempt("adds to", path, lambda: os.close(os.open(path + "/mine", os.O_CREAT | os.O_WRONLY)))
    if stat.S_ISSOCK(mode) or not mode:
        with socket.socket(socket.AF_UNIX) as stranger:
            attempt("connects to", path, lambda: stranger.connect(path))
    if stat.S_ISREG(mode) or not mode:
        attempt("writes", path, lambda: os.close(os.open(path, os.O_WRONLY)))
        attempt("reads", path, lambda: os.close(os.open(path, os.O_RDONLY)))
    attempt("replaces", path, lambda: os.rename(path, path + ".mine"))
"""


def places_of(pid: int) -> set[Path]:
    """Return the paths of all that a process and those below it have open, mapped or bound.

    Working directories are among them, and abstract sockets as paths that begin with "@".
    """
    top = psutil.Process(pid)
    places: set[Path] = set()
    sockets = set()
    for process in (top, *top.children(recursive=True)):
        try:
            links = [os.readlink(link) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
            places.add(Path(process.cwd()))
            places |= {Path(each.path) for each in process.memory_maps(grouped=True)}
        except (psutil.NoSuchProcess, OSError):
            continue  # it has ended, or closed a file since
        sockets |= {link[8:-1] for link in links if link.startswith("socket:[")}
        places |= {Path(link) for link in links if link.startswith("/")}
    for line in Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()[1:]:
        found = line.split(maxsplit=7)
        if len(found) == 8 and found[6] in sockets:
            places.add(Path(found[7]))
    return {place for place in places if str(place)[0] in "/@"}


def places_to_guard(pid: int, *, apart: Iterable[Path]) -> set[Path]:
    """Return the places of a tree of processes, and all that lies in their private folders.

    Args:
        pid: The topmost process.
        apart: Folders whose content is left out; installed programs are, too.
    """
    places = places_of(pid)
    for folder in private_folders(places):
        for inner, folders, files in os.walk(folder):
            places |= {Path(inner, name) for name in (".", *folders, *files)}
    out = (*INSTALLED, *sys.path, *apart)
    return {
        place
        for place in places
        if os.path.lexists(place) and not any(place.is_relative_to(each) for each in out if each)
    }


def private_folders(places: Iterable[Path]) -> set[Path]:
    """Return the folders among the temporary files in which some of the places lie."""
    return {
        part
        for place in places
        for part in (place, *place.parents)
        if part.name.startswith(PREFIX) and part.parent == Path(tempfile.gettempdir()).resolve()
    }


def open_to_others(places: Iterable[Path]) -> dict[str, set[str]]:
    """Return what other users may do, for every place where they may do something."""
    found = {}
    for place in places:
        with suppress(FileNotFoundError):  # removed since it was found
            if may := what_others_may(place):
                found[str(place)] = may
    return found


def what_others_may(place: Path) -> set[str]:
    """Return what other users may do to a place: "enter" a folder, "write" to it, "replace" it."""
    found = place.lstat()
    reached = all(_is_entered(part) for part in place.parents)
    may = {"replace"} if any(map(_is_replaceable, place.parents)) else set()
    if reached and stat.S_ISDIR(found.st_mode) and _is_entered(place):
        may.add("enter")
    if reached and found.st_mode & 0o022 and not stat.S_ISLNK(found.st_mode):
        may.add("write")
    return may


def _is_entered(folder: Path) -> bool:
    return bool(folder.stat().st_mode & 0o011)


def _is_replaceable(folder: Path) -> bool:
    """Say whether others may rename what lies in a folder."""
    found = folder.stat()
    if found.st_uid not in {0, os.getuid(), Path("/").stat().st_uid}:
        return True
    is_open = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
    return bool(is_open) and all(_is_entered(part) for part in (folder, *folder.parents))


def try_as_stranger(places: Iterable[Path]) -> list[str]:
    """Have `nobody` try to enter, read, write, replace and connect; return what succeeded."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _TRY.format(stranger=STRANGER)],
        input="\0".join(map(str, sorted(places))),
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=60,
        cwd="/",
    )
    return done.stdout.splitlines()
