"""Files are written whole or not at all, on disks that take no more."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from constellation.atomic_files import (
    append_whole,
    claim_whole,
    create_whole,
    replaced_whole,
    write_whole,
)
from tests.support.disks import files_of_at_most


def test_a_file_is_replaced_and_missing_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_whole(path, b"old")
    write_whole(path, b"new", durable=False)
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_content_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    with files_of_at_most(4), pytest.raises(OSError, match="File too large"):
        write_whole(path, b"longer than that")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_appended_of_a_line_is_taken_back_when_it_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "lines"
    assert append_whole(path, b"one\n") == 4
    with files_of_at_most(6), pytest.raises(OSError, match="File too large"):
        append_whole(path, b"four\n")
    assert path.read_bytes() == b"one\n"
    assert append_whole(path, b"two\n") == 8
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_file_that_is_too_large_for_memory_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replaced_whole(path, mode=0o444) as file:
        file.write(b"first ")
        assert not path.exists()
        file.write(b"second")
    assert path.read_bytes() == b"first second"
    assert path.stat().st_mode & 0o777 == 0o444
    with files_of_at_most(4), pytest.raises(OSError, match="File too large"):
        _replace(path, b"longer than that")
    assert path.read_bytes() == b"first second"
    assert list(tmp_path.iterdir()) == [path]


def _replace(path: Path, content: bytes) -> None:
    with replaced_whole(path, durable=False) as file:
        file.write(content)


def test_a_file_is_created_once(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file"
    create_whole(path, b"first")
    with pytest.raises(FileExistsError):
        create_whole(path, b"second")
    assert path.read_bytes() == b"first"
    with files_of_at_most(4), pytest.raises(OSError, match="File too large"):
        create_whole(path.with_name("other"), b"longer than that")
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_created_once_where_no_link_can_be_made(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"first", b"second"):
        temporary = tmp_path / "temporary"
        temporary.write_bytes(content)
        if content == b"first":
            claim_whole(temporary, path)
            assert list(tmp_path.iterdir()) == [path]
        else:
            with pytest.raises(FileExistsError):
                claim_whole(temporary, path)
    assert path.read_bytes() == b"first"
    claim = tmp_path / ".other.claim"
    claim.touch()
    with pytest.raises(FileExistsError):
        claim_whole(temporary, tmp_path / "other")
    assert claim.exists(), "the claim of another process stays"


def test_threads_that_write_one_file_at_once_leave_the_content_of_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([number]) * 1000 for number in range(16)]
    with ThreadPoolExecutor(len(contents)) as threads:
        list(threads.map(lambda content: write_whole(path, content), contents))
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]
