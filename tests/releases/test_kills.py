"""A store whose process is killed at any step holds the old release or the new one, whole."""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.releases.killed_steps import OPERATIONS

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parents[2]

LEFTOVERS = {"os.remove": 4, "os.rmdir": 2}
"""Steps of removing what was planted; every operation that takes the store's lock does them."""

LEAST: dict[str, dict[str, int]] = {
    "put": {"fcntl.flock": 2, "os.chmod": 2, "os.rename": 2, **LEFTOVERS},
    "write": {"fcntl.flock": 4, "os.chmod": 5, "os.rename": 5, "os.link": 1, **LEFTOVERS},
    "switch": {"fcntl.flock": 2, "os.rename": 1, **LEFTOVERS},
    "folder": {"os.link": 13, "os.chmod": 1, "os.rename": 1, **LEFTOVERS},
    "folder again": {"os.link": 13, "os.rename": 2, "os.remove": 4 + 12, "os.rmdir": 2 + 9},
    "prune": {"os.rename": 1, "os.remove": 4 + 13 + 1 + 5, "os.rmdir": 2 + 10},
}
"""Steps that there are at least: a count below says that some were not killed at."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder in memory where there is one: a kill loses nothing that was written."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_whoever_comes_after_a_kill_finds_a_whole_release_and_a_store_that_works(
    operation: str, folder: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.releases.killed_steps", operation, str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
        timeout=300,
    )
    told = json.loads(done.stdout)
    assert told["problems"] == [], done.stderr
    assert told["ended"], "the operation was killed at every step that was tried"
    killed = Counter(told["killed"])
    assert {
        step: killed[step] for step in LEAST[operation] if killed[step] < LEAST[operation][step]
    } == {}


def test_every_operation_has_its_steps() -> None:
    assert set(LEAST) == set(OPERATIONS)
