"""The store: releases are written, switched to, laid out and pruned; nothing changes in place."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from constellation.errors import ArtifactError, ConfigError
from constellation.releases.manifest import COORDIZER, Blob
from constellation.releases.store import Pruned, ReleaseStore
from tests.releases.drafts import (
    Unwritten,
    blob_of,
    check_whole,
    draft,
    expected_files,
    files_in,
    write,
)


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    return ReleaseStore(tmp_path / "artifacts", clock=lambda: 12.5)


def damage(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def test_a_folder_without_releases_has_none_and_is_not_touched(store: ReleaseStore) -> None:
    assert store.versions() == ()
    assert store.current() is None
    with pytest.raises(ArtifactError, match="there is no release 1; there are: none"):
        store.read(1)
    assert not store.artifacts.exists()


def test_a_release_is_written_and_then_switched_to(store: ReleaseStore) -> None:
    first = write(store)
    assert (first.version, first.parent, first.created_s) == (1, None, 12.5)
    assert store.current() is None, "writing switches nothing"
    store.switch(1)
    assert store.current() == 1
    assert (store.artifacts / "current").read_bytes() == b"1\n"
    second = write(store, "second", parent=1)
    assert (second.version, store.current(), store.versions()) == (2, 1, (1, 2))
    assert store.read(2) == second
    assert store.previous(2) == 1
    assert store.previous(1) is None
    for version in (1, 2):
        check_whole(store, version)


def test_writing_and_switching_change_no_byte_of_what_is_there(store: ReleaseStore) -> None:
    write(store)
    store.switch(1)
    check_whole(store, 1)
    before = {
        path: (store.artifacts / path).stat().st_mtime_ns for path in files_in(store.artifacts)
    }
    write(store, "second", parent=1)
    store.switch(2)
    after = {path: (store.artifacts / path).stat().st_mtime_ns for path in before}
    assert {path for path in before if before[path] != after[path]} == {"current"}


def test_a_release_whose_files_were_not_put_is_not_written(store: ReleaseStore) -> None:
    write(store)
    with pytest.raises(ArtifactError, match="is missing"):
        store.write(draft(Unwritten(), "second"))
    whole = store.read(1)
    short = replace(whole.table, size_bytes=whole.table.size_bytes - 1)
    with pytest.raises(ArtifactError, match="instead of"):
        store.write(replace(draft(Unwritten()), table=short))
    with pytest.raises(ArtifactError, match="there is no release 5"):
        store.write(draft(Unwritten(), parent=5))
    assert store.versions() == (1,)


def test_a_release_whose_file_is_lost_or_short_is_not_switched_to(store: ReleaseStore) -> None:
    write(store)
    store.switch(1)
    lost = write(store, "second", parent=1).table
    store.blobs.path(lost).unlink()
    with pytest.raises(ArtifactError, match=f"{lost.sha256}: is missing"):
        store.switch(2)
    (store.blobs.folder / lost.sha256).write_bytes(b"short")
    with pytest.raises(ArtifactError, match=f"{lost.sha256}: is damaged"):
        store.switch(2)
    with pytest.raises(ArtifactError, match="there is no release 3; there are: 1, 2"):
        store.switch(3)
    assert store.current() == 1


def test_a_pointer_that_is_no_number_is_refused_and_can_be_written_anew(
    store: ReleaseStore,
) -> None:
    write(store)
    for content in (b"", b"1", b"0\n", b"-1\n", b"one\n", b"1\n1\n", b"\xff\n", b" 1\n"):
        (store.artifacts / "current").write_bytes(content)
        with pytest.raises(ArtifactError, match="current"):
            store.current()
        with pytest.raises(ArtifactError, match="current"):
            store.prune(keep=1)
    store.switch(1)
    assert store.current() == 1


def test_a_manifest_under_another_name_is_refused(store: ReleaseStore) -> None:
    write(store)
    shutil.copy(store.artifacts / "releases/1.msgpack", store.artifacts / "releases/2.msgpack")
    with pytest.raises(ArtifactError, match="is the manifest of release 1"):
        store.read(2)


def test_files_that_are_no_manifests_are_no_releases(store: ReleaseStore) -> None:
    write(store)
    for name in ("0.msgpack", "01.msgpack", "x.msgpack", "2.msgpack.part", ".3.msgpack.9.1.part"):
        (store.artifacts / "releases" / name).touch()
    assert store.versions() == (1,)


# --- several writers ----------------------------------------------------------------------------


def test_writers_at_once_get_different_versions(store: ReleaseStore) -> None:
    start = threading.Barrier(8, timeout=60)
    versions: list[int] = []

    def add(number: int) -> None:
        with store.adding() as put:
            own = draft(put, f"of {number % 4}")
            start.wait()
            versions.append(store.write(own).version)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == list(range(1, 9))
    for version in versions:
        check_whole(store, version)


ADD = """
import sys
from pathlib import Path
from constellation.releases.store import ReleaseStore
store = ReleaseStore(Path(sys.argv[1]))
with store.adding() as put:
    put.put_bytes(b"of a release to come")
    print("put", flush=True)
    sys.stdin.read()
"""


def test_a_file_that_no_release_names_yet_is_not_pruned(store: ReleaseStore) -> None:
    write(store)
    writer = subprocess.Popen(
        [sys.executable, "-c", ADD, str(store.artifacts)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "put\n"
        with pytest.raises(ArtifactError, match="another process is adding to this store"):
            store.prune(keep=1)
        assert store.blobs.read(blob_of(b"of a release to come"))
    finally:
        writer.kill()  # and its lock goes with it
        writer.communicate()
    assert store.prune(keep=1) == Pruned(versions=(), num_blobs=1, size_bytes=20)


# --- folders ------------------------------------------------------------------------------------


def test_a_folder_is_links_to_blobs_and_made_once(store: ReleaseStore) -> None:
    release = write(store)
    folder = check_whole(store, 1)
    assert folder == store.artifacts / "releases" / "1"
    assert (folder / "table.msgpack").samefile(store.blobs.path(release.table))
    before = folder.stat().st_ino
    assert store.folder(1).stat().st_ino == before


def test_a_folder_may_be_removed_and_is_made_again(store: ReleaseStore) -> None:
    write(store)
    shutil.rmtree(store.folder(1))
    check_whole(store, 1)


def _lose(folder: Path) -> None:
    (folder / "table.msgpack").unlink()


def _add(folder: Path) -> None:
    (folder / "kernels/verse/kernel.json").write_bytes(b"{}")


def _replace(folder: Path) -> None:
    size = (folder / "table.msgpack").stat().st_size
    (folder / "table.msgpack").unlink()
    (folder / "table.msgpack").write_bytes(b"x" * size)


def _shorten(folder: Path) -> None:
    (folder / "table.msgpack").unlink()
    (folder / "table.msgpack").write_bytes(b"x")


def _link(folder: Path) -> None:
    (folder / "table.msgpack").unlink()
    (folder / "table.msgpack").symlink_to("coordizer/meta.json")


@pytest.mark.parametrize("spoil", [_lose, _add, _replace, _shorten, _link])
def test_a_folder_that_is_not_whole_is_made_again(
    store: ReleaseStore, spoil: Callable[[Path], None]
) -> None:
    write(store)
    spoil(store.folder(1))
    check_whole(store, 1)


def test_a_damaged_file_is_found_when_a_folder_is_made(store: ReleaseStore) -> None:
    table = write(store).table
    damage(store.blobs.path(table), b"x" * table.size_bytes)
    with pytest.raises(ArtifactError, match=f"{table.sha256}: is damaged: its sha256"):
        store.folder(1)
    assert files_in(store.artifacts / "releases") == {".lock", "1.msgpack"}
    with store.adding() as put:
        assert put.put_bytes(b"table of first") == table
    check_whole(store, 1)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Return a folder of another file system, to which no hard link leads."""
    folder = Path("/dev/shm") / f"constellation-test-{os.getpid()}"
    if not folder.parent.is_dir() or folder.parent.stat().st_dev == tmp_path.stat().st_dev:
        pytest.fail("no second file system is mounted at /dev/shm")
    folder.mkdir()
    return folder


def test_where_no_link_can_be_made_files_are_copied(store: ReleaseStore, elsewhere: Path) -> None:
    try:
        (store.artifacts / "blobs").mkdir(parents=True)
        (store.artifacts / "blobs/sha256").symlink_to(elsewhere)
        release = write(store)
        folder = check_whole(store, 1)
        copied = folder / "table.msgpack"
        assert not copied.samefile(store.blobs.path(release.table))
        before = folder.stat().st_ino
        assert store.folder(1).stat().st_ino == before
        damage(copied, b"x" * release.table.size_bytes)
        check_whole(store, 1)
    finally:
        shutil.rmtree(elsewhere)


def test_a_folder_is_made_by_many_at_once(store: ReleaseStore) -> None:
    write(store)
    start = threading.Barrier(8, timeout=60)

    def look() -> None:
        start.wait()
        store.folder(1)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_whole(store, 1)
    assert not [path for path in files_in(store.artifacts) if ".1-" in path]


# --- pruning ------------------------------------------------------------------------------------


def _written(store: ReleaseStore, num_releases: int) -> None:
    for number in range(1, num_releases + 1):
        write(store, f"number {number}", parent=number - 1 or None)
        check_whole(store, number)


def test_what_is_current_its_parent_what_is_in_use_and_the_newest_stay(
    store: ReleaseStore,
) -> None:
    _written(store, 8)
    store.switch(4)
    gone = store.read(1).blobs() - store.read(2).blobs()
    pruned = store.prune(keep=2, in_use=[1, 99])
    assert pruned.versions == (2, 5, 6)
    assert pruned.num_blobs == 3 * len(gone)
    assert pruned.size_bytes == 3 * sum(blob.size_bytes for blob in gone)
    assert store.versions() == (1, 3, 4, 7, 8)
    for version in store.versions():
        check_whole(store, version)
        shutil.rmtree(store.folder(version))
    assert files_in(store.artifacts) == expected_files(store, 1, 3, 4, 7, 8)
    with pytest.raises(ArtifactError, match="release 6, which release 7 was made from, was pruned"):
        store.previous(7)


def test_a_version_is_never_used_again(store: ReleaseStore) -> None:
    _written(store, 3)
    store.switch(1)
    store.prune(keep=1)
    assert store.versions() == (1, 3)
    assert write(store, "again").version == 4


def test_pruning_twice_removes_nothing_more(store: ReleaseStore) -> None:
    _written(store, 3)
    store.prune(keep=1)
    assert store.prune(keep=1) == Pruned(versions=(), num_blobs=0, size_bytes=0)


def test_a_folder_whose_release_is_gone_is_removed(store: ReleaseStore) -> None:
    _written(store, 2)
    (store.artifacts / "releases/1.msgpack").unlink()
    store.prune(keep=1)
    assert not (store.artifacts / "releases/1").exists()
    check_whole(store, 2)


def test_nothing_is_pruned_when_a_manifest_that_stays_cannot_be_read(store: ReleaseStore) -> None:
    """Nobody would know which files it needs."""
    _written(store, 3)
    path = store.artifacts / "releases/3.msgpack"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    before = files_in(store.artifacts)
    with pytest.raises(ArtifactError, match=r"3\.msgpack"):
        store.prune(keep=1)
    assert files_in(store.artifacts) == before
    path.write_bytes(whole)
    damaged: Path = store.artifacts / "releases/1.msgpack"
    damaged.write_bytes(b"")
    assert store.prune(keep=1).versions == (1, 2), "one that goes need not be read"


def test_files_that_are_no_blobs_are_left_alone(store: ReleaseStore) -> None:
    write(store)
    (store.blobs.folder / "README").write_text("kept", encoding="utf-8")
    store.prune(keep=1)
    assert (store.blobs.folder / "README").exists()


def test_at_least_one_release_stays(store: ReleaseStore) -> None:
    write(store)
    with pytest.raises(ConfigError, match="keep is 0; at least 1"):
        store.prune(keep=0)


def test_an_unused_blob_goes_with_its_last_release(store: ReleaseStore) -> None:
    shared: Blob = blob_of(b"kernel of all" * 50)
    _written(store, 2)
    store.prune(keep=1)
    assert store.blobs.read(shared)


def test_a_part_of_a_release_is_read_though_another_part_is_damaged(store: ReleaseStore) -> None:
    release = write(store)
    view = store.folder(release.version)
    damaged = store.blobs.path(release.kernel("law").files["weights.safetensors"])
    damage(damaged, b"short")
    verse = release.kernel("verse")
    assert verse.folders == ("kernels/verse", f"bases/{verse.base}")
    assert store.part(release.version, *verse.folders) == view
    assert store.part(release.version, COORDIZER) == view
    with pytest.raises(ArtifactError, match=damaged.name):
        store.part(release.version, *release.kernel("law").folders)
    with pytest.raises(ArtifactError):
        store.folder(release.version)
