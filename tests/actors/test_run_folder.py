"""The run folder says what is true as soon as its disk takes it, and holds up nobody before."""

import logging
from pathlib import Path

import pytest

from actors.run_folder import KeptFiles, last_table
from constellation.telemetry.process_metrics import WRITE_FAILURES
from tests.support.disks import files_of_at_most


def num_failures(file: str) -> float:
    return float(WRITE_FAILURES.labels(file)._value.get())


def test_a_file_that_did_not_fit_is_written_when_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files, before = KeptFiles(), num_failures("members")
    files.keep(tmp_path / "members.json", b"old")
    files.write()
    files.keep(tmp_path / "members.json", b"a newer and longer one")
    files.keep(tmp_path / "small", b"1")
    with files_of_at_most(8), caplog.at_level(logging.INFO):
        files.write()
        files.write()
    assert (tmp_path / "members.json").read_bytes() == b"old"
    assert (tmp_path / "small").read_bytes() == b"1"  # one that fails holds up no other
    assert num_failures("members") == before + 2
    assert [record.message for record in caplog.records] == ["file is not written"]
    files.write()
    assert (tmp_path / "members.json").read_bytes() == b"a newer and longer one"
    assert {path.name for path in tmp_path.iterdir()} == {"members.json", "small"}


def test_a_folder_that_was_removed_is_made_whole_again(tmp_path: Path) -> None:
    files, run_dir = KeptFiles(), tmp_path / "run"
    for name in ("table", "members"):
        files.keep(run_dir / name, name.encode())
    files.write()
    for path in (run_dir / "table", run_dir / "members"):
        path.unlink()
    run_dir.rmdir()
    run_dir.write_text("no folder")
    files.write()  # which fails
    run_dir.unlink()
    files.write()
    assert {path.name: path.read_text() for path in run_dir.iterdir()} == {
        "table": "table",
        "members": "members",
    }


def test_what_is_on_the_disk_is_not_written_again(tmp_path: Path) -> None:
    files, path = KeptFiles(), tmp_path / "file"
    files.keep(path, b"same")
    files.write()
    before = path.stat().st_ino
    files.keep(path, b"same")
    files.write()
    assert path.stat().st_ino == before


def test_no_last_table_comes_of_a_file_that_is_missing_or_damaged(tmp_path: Path) -> None:
    assert last_table(tmp_path / "table.msgpack") is None
    (tmp_path / "table.msgpack").write_bytes(b"half of")
    assert last_table(tmp_path / "table.msgpack") is None
