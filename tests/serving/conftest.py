"""A real constellation for the tests of serving: Ray, gRPC, trained kernels."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import launcher_process
from cluster.state_file import RunState
from constellation.settings import Settings
from tests.support.artifacts import build_artifacts


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as training leaves it."""
    return build_artifacts(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="session")
def settings(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return the configuration of the shared constellation."""
    return Settings(
        artifacts=artifacts,
        run_dir=tmp_path_factory.mktemp("run"),
        serve={"port": 0, "routers": 2},
        kernel={"slots": 2, "queue_max": 4, "stall_s": 3.0},
    )


@pytest.fixture(scope="session")
def constellation(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunState]:
    """Start the constellation once for all tests; stop it afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield launcher_process.start(settings)
        launcher_process.stop(settings.run_dir)
