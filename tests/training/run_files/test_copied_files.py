"""Copies of a run's folder on other nodes are the folder itself, whatever happens on the way."""

from pathlib import Path

import pytest

from constellation.errors import TrainingError
from training.run_files.copied_files import CopiedFiles
from training.run_files.folder_server import CHUNK_BYTES, FileState, FolderServer


def two(tmp_path: Path) -> tuple[CopiedFiles, Path, Path]:
    """Return the files of a copy, the copy's folder and the run's folder."""
    run = tmp_path / "run"
    run.mkdir()
    return CopiedFiles(FolderServer(run), tmp_path / "copy"), tmp_path / "copy", run


def content_of(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("num_bytes", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES])
def test_a_file_of_any_size_comes_and_goes_whole(tmp_path: Path, num_bytes: int) -> None:
    files, copy, run = two(tmp_path)
    (run / "tokens").mkdir()
    (run / "tokens" / "a.npy").write_bytes(bytes(range(256)) * (num_bytes // 256 + 1))
    (run / "tokens" / "a.npy").write_bytes(b"x" * num_bytes)
    files.pull(copy / "tokens" / "a.npy")
    assert content_of(copy) == content_of(run) == {"tokens/a.npy": b"x" * num_bytes}
    (copy / "tokens" / "a.npy").rename(copy / "tokens" / "b.npy")
    files.push(copy / "tokens")
    assert content_of(run) == {"tokens/b.npy": b"x" * num_bytes}


def test_only_what_differs_is_copied(tmp_path: Path) -> None:
    files, copy, run = two(tmp_path)
    (run / "kernels").mkdir()
    for name in "ab":
        (run / "kernels" / name).write_text(name)
    files.pull(copy / "kernels")
    kept = (copy / "kernels" / "a").stat().st_ino
    (run / "kernels" / "b").write_text("other")
    files.pull(copy / "kernels")
    assert (copy / "kernels" / "a").stat().st_ino == kept
    assert (copy / "kernels" / "b").read_text() == "other"
    (run / "kernels" / "b").unlink()
    files.pull(copy / "kernels")
    assert content_of(copy) == {"kernels/a": b"a"}


def test_what_was_written_first_arrives_first_and_what_is_old_goes_last(tmp_path: Path) -> None:
    calls: list[str] = []

    class Watched(FolderServer):
        def write(self, name: str, content: bytes, state: FileState) -> None:
            calls.append(name)
            super().write(name, content, state)

        def remove(self, names: object) -> None:
            calls.append("removed")
            super().remove(names)  # type: ignore[arg-type]

    run, copy = tmp_path / "run", tmp_path / "copy"
    run.mkdir()
    files = CopiedFiles(Watched(run), copy)
    (copy / "kernel").mkdir()
    for name in ("weights", "kernel.json", "a-note"):
        files.write(copy / "kernel" / "old", b"")
        (copy / "kernel" / name).write_text(name)
    calls.clear()
    files.push(copy / "kernel")
    assert calls == ["kernel/weights", "kernel/kernel.json", "kernel/a-note", "removed"]
    assert not (run / "kernel" / "old").exists()


def test_small_files_are_those_of_the_run_at_every_moment(tmp_path: Path) -> None:
    files, copy, run = two(tmp_path)
    assert not files.exists(copy / "stop")
    (run / "stop").touch()
    assert files.exists(copy / "stop")
    files.write(copy / "failed.json", b"{}")
    assert (run / "failed.json").read_bytes() == files.read(copy / "failed.json") == b"{}"
    with files.appending(copy / "events") as append:
        append(b"one\n")
        append(b"two\n")
    assert (run / "events").read_bytes() == b"one\ntwo\n"
    with pytest.raises(FileNotFoundError):
        files.read(copy / "missing")


def test_a_part_that_a_lost_worker_left_is_no_file_and_is_removed(tmp_path: Path) -> None:
    files, copy, run = two(tmp_path)
    server = FolderServer(run)
    part = server.begin("best")
    server.append(part, b"half")
    assert server.states("") == {}
    with pytest.raises(TrainingError, match=r"best arrived with 4 of 8 bytes"):
        server.finish(part, "best", FileState(8, 0))
    server.append(server.begin("best"), b"half")
    FolderServer(run)
    assert content_of(run) == {}
    files.pull(copy / "best")
    assert content_of(copy) == {}


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "run").mkdir()
    server = FolderServer(tmp_path / "run")
    for call in (
        lambda: server.read(name, 0),
        lambda: server.states(name),
        lambda: server.write(name, b"", FileState(0, 0)),
        lambda: server.append(name, b""),
        lambda: server.remove([name]),
        lambda: server.begin(name),
    ):
        with pytest.raises(TrainingError, match="does not name a file of the run"):
            call()
    assert (tmp_path / "secret").read_text() == "secret"
