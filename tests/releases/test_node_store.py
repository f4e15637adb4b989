"""A node that does not see the store serves from parts of releases made of its own blobs."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ArtifactError
from constellation.releases.blob_sources import BLOBS_PATH, FolderSource
from constellation.releases.blob_transfer import Attempt, TransferLimits
from constellation.releases.manifest import Release
from constellation.releases.manifest_file import pack_release
from constellation.releases.node_store import NodeReleases, NodeStore, hold_release, part_of
from constellation.releases.store import ReleaseStore
from tests.releases.drafts import draft

QUICK = TransferLimits(stall_s=1.0, num_rounds=1, pause_s=0.0)
LAW = "kernels/law"


def written(home: Path, mark: str = "first") -> Release:
    """Write a release into the store of another node."""
    store = ReleaseStore(home)
    with store.adding() as writer:
        return store.write(draft(writer, mark, parent=None))


def node_of(tmp_path: Path, bytes_max: int = 2**20, **options: object) -> NodeStore:
    return NodeStore(tmp_path / "node", bytes_max=bytes_max, limits=QUICK, **options)  # type: ignore[arg-type]


def provide(node: NodeStore, release: Release, folders: tuple[str, ...], home: Path) -> None:
    node.admit(pack_release(release))
    asyncio.run(node.provide(release, folders, [FolderSource(home)]))


def test_a_part_is_read_with_the_store_of_every_process(tmp_path: Path) -> None:
    release = written(tmp_path / "home")
    node = node_of(tmp_path)
    provide(node, release, (LAW,), tmp_path / "home")
    store = ReleaseStore(node.folder)
    assert store.read(release.version) == release
    folder = store.part(release.version, LAW) / LAW
    assert (folder / "weights.safetensors").read_bytes() == b"weights of first"


def test_only_the_files_of_the_part_are_fetched(tmp_path: Path) -> None:
    release = written(tmp_path / "home")
    node = node_of(tmp_path)
    provide(node, release, (LAW,), tmp_path / "home")
    found = {path.name for path in node.cache.folder.iterdir()}
    assert found == {blob.sha256 for blob in part_of(release, (LAW,)).values()}


def test_parts_are_added_to_a_release_that_is_there(tmp_path: Path) -> None:
    release = written(tmp_path / "home")
    node = node_of(tmp_path)
    verse = release.kernel("verse").folders
    for folders in ((LAW,), verse, (LAW,)):
        provide(node, release, folders, tmp_path / "home")
    store = ReleaseStore(node.folder)
    view = store.part(release.version, LAW, *verse)
    found = {path.relative_to(view).as_posix() for path in view.rglob("*") if path.is_file()}
    assert found == set(part_of(release, (LAW, *verse)))


def test_a_blob_that_the_disk_damaged_is_fetched_again(tmp_path: Path) -> None:
    release = written(tmp_path / "home")
    attempts: list[Attempt] = []
    node = node_of(tmp_path, note=attempts.append)
    weights = release.kernel("law").files["weights.safetensors"]
    node.cache.folder.mkdir(parents=True)
    (node.cache.folder / weights.sha256).write_bytes(b"x" * weights.size_bytes)
    provide(node, release, (LAW,), tmp_path / "home")
    content = (node.folder / "releases/1" / LAW / "weights.safetensors").read_bytes()
    assert content == b"weights of first"


def test_without_a_source_a_part_is_refused_and_nothing_is_laid_out(tmp_path: Path) -> None:
    release = written(tmp_path / "home")
    node = node_of(tmp_path)
    with pytest.raises(ArtifactError, match="absent"):
        provide(node, release, (LAW,), tmp_path / "elsewhere")
    assert not (node.folder / "releases/1").exists()


@given(st.data())
def test_a_bit_flipped_anywhere_in_a_manifest_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    manifest = bytearray(pack_release(written(folder / "home")))
    manifest[data.draw(st.integers(0, len(manifest) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    node = node_of(folder)
    with pytest.raises(ArtifactError, match="manifest from the registry"):
        node.admit(bytes(manifest))
    assert not node.folder.exists()


def test_another_release_of_the_same_number_replaces_the_one_that_was_kept(tmp_path: Path) -> None:
    node = node_of(tmp_path)
    for mark in ("first", "second"):
        provide(node, written(tmp_path / mark, mark), (LAW,), tmp_path / mark)
        content = (node.folder / "releases/1" / LAW / "weights.safetensors").read_bytes()
        assert content == f"weights of {mark}".encode()


def two_releases(tmp_path: Path) -> tuple[Release, Release, int]:
    """Return two releases of one store, and bytes for the coordizer of one of them."""
    one, two = written(tmp_path / "home", "one"), written(tmp_path / "home", "two")
    size = sum(blob.size_bytes for blob in set(part_of(one, ("coordizer",)).values()))
    return one, two, size


def test_releases_that_no_process_uses_make_room(tmp_path: Path) -> None:
    one, two, size = two_releases(tmp_path)
    node = node_of(tmp_path, size)
    provide(node, one, ("coordizer",), tmp_path / "home")
    provide(node, two, ("coordizer",), tmp_path / "home")
    assert node.cache.size_bytes() <= size
    assert not (node.folder / "releases/1").exists()


def test_a_release_that_a_process_uses_stays_and_the_next_is_refused(tmp_path: Path) -> None:
    one, two, size = two_releases(tmp_path)
    node = node_of(tmp_path, size)
    provide(node, one, ("coordizer",), tmp_path / "home")
    held = hold_release(node.folder, one.version)
    with pytest.raises(ArtifactError, match="does not fit"):
        provide(node, two, ("coordizer",), tmp_path / "home")
    assert (node.folder / "releases/1/coordizer/meta.json").read_bytes() == b"meta of one"
    os.close(held)
    provide(node, two, ("coordizer",), tmp_path / "home")


class Asked:
    """Provides from a store, and notes what was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[int, tuple[str, ...]]] = []

    def __call__(self, version: int, folders: tuple[str, ...]) -> Path:
        self.asked.append((version, folders))
        return self.folder


def test_a_process_holds_the_release_that_it_reads_until_it_lets_go(tmp_path: Path) -> None:
    one, two, size = two_releases(tmp_path)
    node = node_of(tmp_path, size)
    provide(node, one, ("coordizer",), tmp_path / "home")
    releases = NodeReleases(Asked(node.folder), tmp_path / "artifacts")
    releases.part(1, "coordizer")
    with pytest.raises(ArtifactError, match="does not fit"):
        provide(node, two, ("coordizer",), tmp_path / "home")
    releases.let_go(but=2)
    provide(node, two, ("coordizer",), tmp_path / "home")


def test_a_process_that_sees_the_store_reads_there_and_writes_nothing(tmp_path: Path) -> None:
    release = written(tmp_path / "home")
    ReleaseStore(tmp_path / "home").folder(release.version)
    before = sorted(path.name for path in (tmp_path / "home/releases").iterdir())
    releases = NodeReleases(Asked(tmp_path / "home"), tmp_path / "home")
    assert releases.read(1) == release
    assert releases.part(1, LAW) == tmp_path / "home/releases/1"
    assert sorted(path.name for path in (tmp_path / "home/releases").iterdir()) == before


def test_a_part_that_is_there_is_asked_for_once(tmp_path: Path) -> None:
    release = written(tmp_path / "home")
    node = node_of(tmp_path)
    provide(node, release, (LAW,), tmp_path / "home")
    asked = Asked(node.folder)
    releases = NodeReleases(asked, tmp_path / "artifacts")
    for _ in range(3):
        releases.part(1, LAW)
    assert asked.asked == [(1, (LAW,))] * 2  # once before the release is held, once after


def test_the_cache_lies_where_a_store_has_its_blobs(tmp_path: Path) -> None:
    assert node_of(tmp_path).cache.folder == tmp_path / "node" / BLOBS_PATH
