"""`constellation up --address` and `constellation down`, as tests use them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cluster import launcher_process
from cluster.state_file import RunState
from constellation.errors import DeploymentError
from constellation.settings import Settings


@contextmanager
def deployed(address: str, artifacts: Path, run_dir: Path, **settings: Any) -> Iterator[RunState]:
    """Start a constellation on a Ray cluster; stop it when the block ends.

    Args:
        address: host:port of the cluster, such as `Raylets.address`.
        artifacts: Folder with a release.
        run_dir: Folder for the state and the logs.
        **settings: Sections of the settings, such as `serve={"routers": 2}`.
    """
    sections = {"serve": {"port": 0}, **settings}
    state = launcher_process.start(
        Settings(artifacts=artifacts, run_dir=run_dir, **sections), address=address
    )
    try:
        yield state
    finally:
        with suppress(DeploymentError):  # the test has stopped it
            launcher_process.stop(run_dir)
