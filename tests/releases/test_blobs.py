"""Files under their hash: whole or not there, read-only, and never taken for what they are not."""

import os
from pathlib import Path

import pytest

from constellation.errors import ArtifactError
from constellation.releases.blobs import BlobWriter
from tests.releases.drafts import blob_of
from tests.support.disks import files_of_at_most

CONTENT = b"weights of a kernel" * 1000


@pytest.fixture
def blobs(tmp_path: Path) -> BlobWriter:
    return BlobWriter(tmp_path / "store" / "blobs")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").write_bytes(CONTENT)
    return tmp_path / "source"


def test_a_file_is_found_by_its_hash_and_cannot_be_written_to(
    blobs: BlobWriter, source: Path
) -> None:
    blob = blobs.put_file(source)
    assert blob == blob_of(CONTENT)
    assert blobs.path(blob).read_bytes() == CONTENT
    assert blobs.path(blob).stat().st_mode & 0o777 == 0o444
    assert blobs.read(blob) == CONTENT
    assert [path.name for path in blobs.folder.iterdir()] == [blob.sha256]
    source.write_bytes(b"trained again")
    assert blobs.read(blob) == CONTENT, "a copy, which its source does not change"


def test_bytes_and_a_file_of_the_same_content_are_one_blob(blobs: BlobWriter, source: Path) -> None:
    first = blobs.put_bytes(CONTENT)
    before = blobs.path(first).stat().st_ino
    assert blobs.put_file(source) == first
    assert blobs.put_bytes(CONTENT) == first
    assert blobs.path(first).stat().st_ino == before, "what is there is not written again"


def test_an_empty_file_is_a_blob(blobs: BlobWriter) -> None:
    assert blobs.read(blobs.put_bytes(b"")) == b""


def _damage(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


SAME_SIZE = b"X" + CONTENT[1:]


@pytest.mark.parametrize("damage", [CONTENT[:-1], CONTENT + b"!", b""])
def test_a_short_or_long_blob_is_refused_by_name_and_written_again(
    blobs: BlobWriter, source: Path, damage: bytes
) -> None:
    blob = blobs.put_file(source)
    _damage(blobs.path(blob), damage)
    told = rf"{blob.sha256}: is damaged: it has {len(damage)} bytes .*releases rollback"
    for refused in (blobs.path, blobs.read, blobs.verify):
        with pytest.raises(ArtifactError, match=told):
            refused(blob)
    assert blobs.put_file(source) == blob
    blobs.verify(blob)


def test_a_blob_of_the_right_size_with_another_content_is_refused_when_it_is_read(
    blobs: BlobWriter, source: Path
) -> None:
    blob = blobs.put_file(source)
    _damage(blobs.path(blob), SAME_SIZE)
    for refused in (blobs.read, blobs.verify):
        with pytest.raises(ArtifactError, match=rf"{blob.sha256}: is damaged: its sha256"):
            refused(blob)
    blobs.put_file(source)
    blobs.verify(blob)
    _damage(blobs.path(blob), SAME_SIZE)
    blobs.put_bytes(CONTENT)
    blobs.verify(blob)


def test_a_missing_blob_is_refused_by_name(blobs: BlobWriter) -> None:
    with pytest.raises(ArtifactError, match=rf"{blob_of(CONTENT).sha256}: is missing"):
        blobs.read(blob_of(CONTENT))


def test_a_link_in_the_place_of_a_blob_is_no_blob(blobs: BlobWriter, source: Path) -> None:
    blobs.folder.mkdir(parents=True)
    (blobs.folder / blob_of(CONTENT).sha256).symlink_to(source)
    with pytest.raises(ArtifactError, match="is missing"):
        blobs.path(blob_of(CONTENT))
    blobs.put_file(source)
    assert not blobs.path(blob_of(CONTENT)).is_symlink()


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe"])
def test_a_source_that_is_no_file_is_refused(blobs: BlobWriter, tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ArtifactError, match=rf"{kind}: (cannot be read|is no file)"):
        blobs.put_file(path)
    assert not blobs.folder.exists()


def test_a_source_that_is_a_link_is_followed(blobs: BlobWriter, source: Path) -> None:
    link = source.with_name("link")
    link.symlink_to(source)
    assert blobs.read(blobs.put_file(link)) == CONTENT


def test_a_full_disk_leaves_no_part_of_a_blob(blobs: BlobWriter, source: Path) -> None:
    with files_of_at_most(1000):
        for put in (lambda: blobs.put_file(source), lambda: blobs.put_bytes(CONTENT)):
            with pytest.raises(OSError, match="File too large"):
                put()
    assert list(blobs.folder.iterdir()) == []


def test_a_source_that_changes_while_it_is_copied_is_refused(
    blobs: BlobWriter, source: Path
) -> None:
    """It is read once for its hash and once to be copied, and both must be the same."""

    class Changing(BlobWriter):
        def _has(self, *arguments: object, **options: object) -> bool:
            source.write_bytes(SAME_SIZE)
            return False

    with pytest.raises(ArtifactError, match="was changed while it was copied"):
        Changing(blobs.folder).put_file(source)
    assert list(blobs.folder.iterdir()) == []
