"""A small trained constellation, and a store that has it as release 1."""

import shutil
from pathlib import Path

import pytest

from constellation.releases.manifest import Release
from constellation.releases.store import ReleaseStore
from constellation.releases.workshop import draft_from_workshop
from constellation.wire.table_file import load_table
from tests.support.artifacts import build_artifacts


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as training leaves it; do not change it."""
    return build_artifacts(tmp_path_factory.mktemp("trained"), steps=0)


@pytest.fixture
def workshop(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder, which a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "workshop"))


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    return ReleaseStore(tmp_path / "store")


def publish(store: ReleaseStore, workshop: Path, change: str = "trained") -> Release:
    """Write what lies in the workshop as a release made from the current one."""
    names = [site.name for site in load_table(workshop / "table.msgpack").sites]
    domains = {name: f"text of {name}".encode() for name in names}
    with store.adding() as put:
        draft = draft_from_workshop(workshop, put, domains, change=change, parent=store.current())
        return store.write(draft)
