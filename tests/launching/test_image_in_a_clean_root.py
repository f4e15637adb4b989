"""The image for processors is built step by step and run, as far as that goes without an engine.

Needs root and overlayfs; downloads some 500 MB of packages. Part of `make test-cluster`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.artifacts import build_artifacts

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.getuid() != 0, reason="overlay mounts need root"),
]

ROOT = Path(__file__).parents[2]


def test_the_image_for_processors_answers_as_its_user_and_ends_when_it_is_told(
    tmp_path: Path,
) -> None:
    artifacts = build_artifacts(tmp_path / "artifacts")
    command = ["-m", "tools.clean_root", "cluster/containers/cpu.Dockerfile", str(artifacts)]
    ended = subprocess.run(
        [sys.executable, *command, "import os"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["answer"]
    assert found["exit_status"] == 0
    assert found["user"] == 10_001
    assert found["image_mb"] < 3_000
