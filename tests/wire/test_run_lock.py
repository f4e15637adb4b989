"""One process writes to a run's folder; the others hear which, and a dead one leaves no lock."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from constellation.errors import TrainingError
from constellation.wire.run_lock import LOCK_FILE, held_descriptors, owned, owner_of

HOLD = """
import sys
from pathlib import Path
from constellation.errors import TrainingError
from constellation.wire.run_lock import owned
with owned(Path(sys.argv[1]), "a training", TrainingError):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Return a process that holds the lock until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_second_writer_is_refused_with_the_process_of_the_first(tmp_path: Path) -> None:
    process = holder(tmp_path)
    with (
        pytest.raises(
            TrainingError, match=f"a training runs in this folder, process {process.pid}"
        ),
        owned(tmp_path, "`add law`", TrainingError),
    ):
        raise AssertionError("the folder is taken")
    owner = owner_of(tmp_path)
    assert owner is not None
    assert (owner.pid, owner.doing, owner.alive()) == (process.pid, "a training", True)
    end(process)


def test_a_writer_that_was_killed_leaves_the_folder_free(tmp_path: Path) -> None:
    end(holder(tmp_path))
    assert owner_of(tmp_path) is None
    with owned(tmp_path, "`add law`", TrainingError):
        owner = owner_of(tmp_path)
        assert owner is not None
        assert owner.pid == os.getpid()
    assert owner_of(tmp_path) is None
    assert (tmp_path / LOCK_FILE).read_bytes() == b"", "who has ended is not named"


def test_a_child_that_inherits_the_lock_holds_it_after_its_parent(tmp_path: Path) -> None:
    with owned(tmp_path, "a training", TrainingError):
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=held_descriptors(),
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
    assert held_descriptors() == ()
    told = "another process writes"
    with pytest.raises(TrainingError, match=told), owned(tmp_path, "`add law`", TrainingError):
        raise AssertionError("the child still writes")
    end(child)
    with owned(tmp_path, "`add law`", TrainingError):
        pass


def test_an_owner_that_has_ended_while_its_children_write_is_said_to_have_ended(
    tmp_path: Path,
) -> None:
    process = holder(tmp_path)
    named = owner_of(tmp_path)
    end(process)
    assert named is not None
    assert not named.alive()
    assert "which has ended" in str(named)
