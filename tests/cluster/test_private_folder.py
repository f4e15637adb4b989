"""The folder for Ray's sockets: who may enter it, where it lies, and what becomes of those left."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster import private_folder as folders
from cluster.private_folder import find_base, held, private_folder, ray_part, sweep, unfit
from constellation.errors import DeploymentError
from tests.support.strangers import IS_ROOT, STRANGER, open_to_others, try_as_stranger

KEEPER = """
import sys
from cluster.private_folder import private_folder
with private_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder for temporary files of this test's own, with a short path.

    It asks for `tmp_path` so that pytest has made that before.
    """
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as name:
        Path(name).chmod(0o1777)
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(name)


@contextmanager
def another_process_with_a_folder() -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """Run a process that has a private folder until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", KEEPER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_what_ray_opens_to_everybody_stays_closed(base: Path) -> None:
    with private_folder() as folder:
        ray_part(folder).chmod(0o777)  # what Ray does
        (ray_part(folder) / "file").write_text("x", encoding="utf-8")
        (ray_part(folder) / "file").chmod(0o666)
        places = [folder, *folder.rglob("*")]
        assert open_to_others(places) == {}
        if IS_ROOT:
            assert try_as_stranger(places) == []
    assert not folder.exists()


def test_what_is_open_is_found(base: Path) -> None:
    """A folder as Ray was given it until 0.1.0: the test above would be worthless otherwise."""
    given, forks = base / "given", base / "given" / "forks"
    forks.mkdir(parents=True)
    given.chmod(0o777)
    forks.chmod(0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(given / "socket"))
        listening.listen()
        (given / "socket").chmod(0o777)
        assert open_to_others([given, forks, given / "socket"]) == {
            str(given): {"enter", "write"},
            str(forks): {"replace"},
            str(given / "socket"): {"replace", "write"},
        }
        if IS_ROOT:
            found = try_as_stranger([given, forks, given / "socket"])
            assert f"replaces {forks}" in found
            assert f"connects to {given / 'socket'}" in found


def test_a_folder_in_use_is_locked_so_that_cleaners_of_old_files_leave_it(base: Path) -> None:
    with private_folder() as folder:
        descriptor = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):  # as systemd-tmpfiles finds it (man 5 tmpfiles.d)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)


def test_a_folder_whose_process_was_killed_is_removed_at_the_next_start(base: Path) -> None:
    with another_process_with_a_folder() as (process, left):
        sweep(base)
        assert left.is_dir(), "its process lives"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        assert left.is_dir()
        with private_folder() as folder:
            assert folder != left
            assert not left.exists()


def test_a_folder_that_a_second_process_holds_outlives_its_maker(base: Path) -> None:
    """A training goes on for a while in the folder of a command that was killed."""
    with another_process_with_a_folder() as (process, left), held(left):
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        sweep(base)
        assert ray_part(left).is_dir()
    sweep(base)
    assert not left.exists()


def test_the_sweep_touches_nothing_else(base: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "precious"
    (elsewhere / "r").mkdir(parents=True)
    (base / "cst-link").symlink_to(elsewhere)
    (base / "cst-other").mkdir()  # of another program: no part of Ray's in it
    (base / "cst-file").write_text("x", encoding="utf-8")
    (base / "another" / "r").mkdir(parents=True)
    if IS_ROOT:
        (base / "cst-stranger" / "r").mkdir(parents=True)
        os.chown(base / "cst-stranger", STRANGER, STRANGER)
    before = sorted(base.rglob("*"))
    sweep(base)
    assert sorted(base.rglob("*")) == before
    assert (elsewhere / "r").is_dir()


def test_a_folder_with_a_long_path_is_passed_over(
    base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 72)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with private_folder() as folder:
        assert folder.parent == Path("/tmp").resolve()


def test_ray_s_longest_socket_has_room_in_the_longest_path_that_is_taken(base: Path) -> None:
    room = 107 - len(folders._LONGEST)
    longest = base / ("x" * (room - len(str(base)) - 1))
    longest.mkdir()
    assert unfit(longest) is None
    with socket.socket(socket.AF_UNIX) as listening:
        path = Path(f"{longest}{folders._LONGEST}")
        path.parent.mkdir(parents=True)
        listening.bind(str(path))
    longer = longest.with_name(longest.name + "x")
    longer.mkdir()
    assert "letters" in str(unfit(longer))


@pytest.mark.parametrize(
    ("name", "mode", "reason"),
    [
        ("é", 0o700, "letters in its path"),
        ("open", 0o777, "lets other users replace"),
        ("group", 0o770, "lets other users replace"),
    ],
)
def test_a_folder_that_will_not_do_is_named_with_its_reason(
    base: Path, name: str, mode: int, reason: str
) -> None:
    wrong = base / name
    wrong.mkdir()
    wrong.chmod(mode)
    with pytest.raises(DeploymentError, match=f"{wrong} .*{reason}.*set TMPDIR"):
        find_base([str(wrong)])
    assert find_base([str(wrong), str(base)]) == base


def test_a_folder_of_which_another_user_owns_a_part_is_passed_over(base: Path) -> None:
    if not IS_ROOT:
        pytest.skip("only root can give a folder away")
    (base / "theirs" / "deep").mkdir(parents=True)
    os.chown(base / "theirs", STRANGER, STRANGER)
    assert "another user" in str(unfit(base / "theirs" / "deep"))


def test_a_folder_that_is_not_there_is_passed_over(base: Path) -> None:
    assert "No such file" in str(unfit(base / "gone"))
    assert find_base([str(base / "gone"), str(base)]) == base
