"""The disks benchmark in short: folders are filled and removed under load, and all comes back."""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.disks import Plan, run
from benchmarks.disks_disturbances import Disks, disks

pytestmark = pytest.mark.ray

EVERYWHERE = (
    Plan("run", "removed", "kernel", hold_s=2.0),
    Plan("artifacts", "removed", "registry", hold_s=2.0),
    Plan("temporary", "removed", "kernel", hold_s=2.0),
)
WITH_DISKS = (
    Plan("run", "full", "kernel", "hang", hold_s=6.0),
    Plan("run", "read-only", "registry", hold_s=2.0),
)
BARS = ("lost", "untyped", "not_whole", "untrue", "silent_ends")


@pytest.fixture
def small_disks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disks]:
    base = Path(tempfile.mkdtemp(prefix="cd"))
    monkeypatch.setenv("TMPDIR", str(base))  # which the rounds change
    monkeypatch.setenv("HOME", str(base))
    with disks(base) as made:
        yield made
    shutil.rmtree(base, ignore_errors=True)


def test_supervision_goes_on_or_ends_loudly_and_nothing_is_lost_once_there_is_room(
    small_disks: Disks, artifacts: Path
) -> None:
    plans = (*(WITH_DISKS if small_disks.has_disks else ()), *EVERYWHERE)
    report = run(small_disks, artifacts, plans, seed=1)
    sys.stdout.write(json.dumps(report) + "\n")
    assert {bar: report[bar] for bar in BARS} == dict.fromkeys(BARS, 0), report["examples"]
    assert report["ends"] == 1  # where Ray's own folder was removed
    assert report["requests"] > 100
