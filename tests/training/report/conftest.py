"""One real run for all tests of reports."""

import shutil
from pathlib import Path

import pytest

from tests.training.report.tiny_run import finished_run
from training.report.samples import ensure_samples


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run with its samples. Do not change it."""
    run = finished_run(tmp_path_factory.mktemp("finished"))
    ensure_samples(run)
    return run


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished run that a test may spoil."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"
