"""An actor writes in place to weights that others share: it dies, and only it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray


def test_who_writes_to_shared_weights_dies_and_its_neighbour_says_the_same(
    artifacts: Path, tmp_path: Path
) -> None:
    run = [sys.executable, "-m", "tests.serving.offender_run", str(artifacts), str(tmp_path)]
    ended = subprocess.run(run, check=False, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout.splitlines()[-1])
    assert seen["num_files"] == 1, "both map the same file"
    assert "SIGSEGV" in seen["end"]
    first_pid, before = seen["offender"]
    next_pid, after = seen["offender_after"]
    assert next_pid != first_pid
    assert seen["neighbour_after"] == seen["neighbour"]
    assert before == after == seen["neighbour"][1] != ""
