"""A small trained constellation, and a store that has it as release 1."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from constellation.coordizer.coordizer import Coordizer
from constellation.releases.manifest import Draft, KernelFiles, Release
from constellation.releases.store import ReleaseStore
from constellation.releases.training_files import coordizer_parts, kernel_parts
from constellation.wire.table_file import load_table, save_table
from tests.support.artifacts import build_artifacts


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as training leaves it; do not change it."""
    return unpublished(build_artifacts(tmp_path_factory.mktemp("trained"), steps=0))


def unpublished(trained: Path) -> Path:
    """Take the releases out of a trained folder; table and coordizer of the current one stay."""
    store = ReleaseStore(trained)
    shutil.copytree(store.current_folder() / "coordizer", trained / "served")
    shutil.rmtree(trained / "coordizer")
    (trained / "served").rename(trained / "coordizer")
    save_table(trained / "table.msgpack", replace(store.table(store.read_current()), release=0))
    shutil.rmtree(trained / "blobs")
    shutil.rmtree(trained / "releases")
    (trained / "current").unlink()
    return trained


@pytest.fixture
def workshop(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder, which a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "workshop"))


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    return ReleaseStore(tmp_path / "store")


def publish(store: ReleaseStore, workshop: Path, change: str = "trained") -> Release:
    """Write what lies in the workshop as a release made from the current one."""
    table = load_table(workshop / "table.msgpack")
    with store.adding() as put:
        found = {site.name: kernel_parts(workshop, site.name, put) for site in table.sites}
        kernels = [
            KernelFiles(
                name=name,
                engine=each.engine,
                files=each.files,
                base=each.base,
                domain=put.put_bytes(f"text of {name}".encode()),
            )
            for name, each in found.items()
        ]
        draft = Draft(
            change=change,
            parent=store.current(),
            coordizer=coordizer_parts(Coordizer.load(workshop / "coordizer"), put),
            table=put.put_file(workshop / "table.msgpack"),
            kernels=tuple(kernels),
            bases={each.base: each.base_files for each in found.values() if each.base},
            options={},
        )
        return store.write(draft)
