"""Disks that fail while a kernel trains: a typed error, the last good checkpoint, the same end."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from constellation.errors import TrainingError
from constellation.kernel.files.checkpoint import load_kernel
from tests.training import fault_run
from training.loop.step import Alone
from training.runs.worker import train_kernel
from training.token_files import load_tokens

ROOT = Path(__file__).parents[3]
NAMESPACE = ("unshare", "--map-root-user", "--mount")


def can_mount() -> bool:
    """Whether this machine lets a test mount a disk of its own, seen by nobody else."""
    if shutil.which(NAMESPACE[0]) is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


MOUNTED = ("full", "read-only") if can_mount() else ()
FAULTS = (*MOUNTED, "file-size", "no-folder")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("faults")
    command = [sys.executable, "-m", "tests.training.fault_run", str(folder), *FAULTS]
    done = subprocess.run(
        [*NAMESPACE, *command] if MOUNTED else command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {outcome["fault"]: outcome for outcome in found}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = fault_run.plan(tmp_path_factory.mktemp("undisturbed") / "run")
    assert train_kernel(run, "a", Alone())
    return load_kernel(run.kernel_folder("a")).weights_hash


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_disk_keeps_the_last_good_checkpoint_and_the_mended_one_goes_on(
    outcomes: dict[str, dict[str, Any]], undisturbed: str, fault: str
) -> None:
    outcome = outcomes[fault]
    reason = {
        "full": "No space left on device",
        "read-only": "Read-only file system",
        "file-size": "File too large",
        "no-folder": "Not a directory|File exists",
    }[fault]
    pattern = rf"cannot write checkpoint .*step-00000020.*({reason}); the one before it is intact"
    assert re.search(pattern, outcome["message"]), outcome["message"]
    assert outcome["left"][-1] == 10, "the checkpoint before the fault is whole"
    assert outcome["parts"] == []
    assert outcome["finished"]
    assert outcome["weights"] == undisturbed


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "No data left|EOF"),
        (b"no tokens at all", "pickle|magic|format"),
        (np.arange(6, dtype=np.int64), "int64"),
        (np.zeros((2, 3), dtype=np.int32), "shape"),
        (np.array([1, 2, 64], dtype=np.int32), "1 to 64 are not all in 0 to 63"),
        (np.array([-1, 2], dtype=np.int32), "-1 to 2"),
        (None, "No such file"),
    ],
)
def test_a_corrupt_token_file_is_refused_with_its_name_and_the_way_out(
    tmp_path: Path, content: object, reason: str
) -> None:
    path = tmp_path / "sea.train.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, np.ndarray):
        np.save(path, content)
    with pytest.raises(TrainingError, match=rf"token file .*sea\.train\.npy.*({reason}).*again"):
        load_tokens(path, vocab_size=64)


def test_a_token_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sea.train.npy"
    np.save(path, np.arange(60, dtype=np.int32))
    assert load_tokens(path, vocab_size=64).tolist() == list(range(60))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(TrainingError, match="cannot be used"):
        load_tokens(path, vocab_size=64)
