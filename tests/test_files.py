"""Files are written whole or not at all, on disks that take no more."""

from pathlib import Path

import pytest

from constellation.files import append_whole, write_whole
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
