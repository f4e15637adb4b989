"""How the command line finds a running constellation again, whatever the clock does."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cluster.state_file import RunState, own_start_mark, running, start_mark, write_state


def written(folder: Path, **changes: object) -> RunState | None:
    """Write the state of a constellation that this process launched, and look for it."""
    state = RunState(
        pid=os.getpid(), started=own_start_mark(), endpoint="h:1", artifacts="x", kernels=("law",)
    )
    write_state(folder, replace(state, **changes))  # type: ignore[arg-type]
    return running(folder)


def test_a_launcher_that_runs_is_found(tmp_path: Path) -> None:
    found = written(tmp_path)
    assert found is not None
    assert found.kernels == ("law",)


def test_another_process_with_the_id_of_a_launcher_that_ended_is_no_launcher(
    tmp_path: Path,
) -> None:
    boot, ticks = own_start_mark().split()
    assert written(tmp_path, started=f"{boot} {int(ticks) + 1}") is None
    assert written(tmp_path, started=f"{boot[::-1]} {ticks}") is None


def test_a_launcher_is_found_after_the_clock_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system says when it was booted by the clock, so that time moves when the clock is set."""
    before_s = psutil.Process().create_time()
    assert written(tmp_path) is not None
    boot_s = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_s + 3600)
    assert psutil.Process().create_time() > before_s + 3000  # the fake does what a clock does
    assert running(tmp_path) is not None


def test_a_process_that_ended_has_no_mark_even_while_its_entry_is_left() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet collected
    assert start_mark(child.pid) is None
    child.wait()
    assert start_mark(child.pid) is None


def test_a_name_with_blanks_and_parentheses_does_not_matter(tmp_path: Path) -> None:
    program = tmp_path / "a) R (b"
    program.symlink_to(sys.executable)
    child = subprocess.Popen([program, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        mark = start_mark(child.pid)
        assert mark is not None
        assert mark.split()[0] == own_start_mark().split()[0]
        assert int(mark.split()[1]) >= int(own_start_mark().split()[1])
    finally:
        child.communicate(b"\n")
