"""A run folder without room is refused before anything is started, and by its true name."""

import json
from pathlib import Path

import pytest

from cluster import room
from cluster.worker_errors import last_error_lines
from constellation.errors import DeploymentError
from constellation.settings import Settings
from tests.support.disks import files_of_at_most

WEIGHTS_BYTES = 3_000_000


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """Write three kernels, two of which have the same weights, and an adapter's base."""
    folder = tmp_path / "artifacts"
    for name, weights_hash in (("a", "1"), ("b", "2"), ("twin", "2")):
        write_kernel(folder / "kernels" / name, weights_hash)
    write_kernel(folder / "seed", "3")
    (folder / "kernels" / ".c.part").mkdir()
    return folder


def write_kernel(folder: Path, weights_hash: str) -> None:
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps({"weights_sha256": weights_hash}))
    with (folder / "weights.safetensors").open("wb") as file:
        file.truncate(WEIGHTS_BYTES)


def settings(artifacts: Path, **kernel: int) -> Settings:
    return Settings(artifacts=artifacts, run_dir=artifacts.parent / "run", kernel=kernel)  # type: ignore[arg-type]


def test_every_weight_that_is_mapped_is_counted_once(artifacts: Path) -> None:
    small = room.SMALL_BYTES
    assert room.needed_bytes(settings(artifacts)) == small + 2 * WEIGHTS_BYTES
    assert room.needed_bytes(settings(artifacts, per_actor=4)) == small
    (artifacts / "kernels" / "d").mkdir()
    (artifacts / "kernels" / "d" / "adapter.safetensors").touch()
    assert room.needed_bytes(settings(artifacts, per_actor=4)) == small + WEIGHTS_BYTES


def test_copies_that_will_be_removed_first_make_room(artifacts: Path) -> None:
    kept = artifacts.parent / "run" / "weights"
    kept.mkdir(parents=True)
    (kept / "1.safetensors").write_bytes(bytes(1_000_000))
    needed = room.SMALL_BYTES + 2 * WEIGHTS_BYTES - 1_000_000
    assert room.needed_bytes(settings(artifacts)) == needed


def test_a_full_disk_is_named_with_what_is_needed_and_what_is_free(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_free_bytes", lambda folder: 5_000_000)
    with pytest.raises(DeploymentError, match=r"no space left in .*run: needs 8 MB, 5 MB are free"):
        room.check_room(settings(artifacts))


def test_a_folder_that_takes_less_than_the_disk_has_is_refused_too(artifacts: Path) -> None:
    """As with a quota: what is free on the disk is not free for this user."""
    with (
        files_of_at_most(WEIGHTS_BYTES),
        pytest.raises(DeploymentError, match=r"cannot write to .*run: File too large; .*--run-dir"),
    ):
        room.check_room(settings(artifacts))
    room.check_room(settings(artifacts))
    assert list((artifacts.parent / "run").iterdir()) == []


def test_a_run_folder_that_is_a_file_is_refused(artifacts: Path) -> None:
    (artifacts.parent / "run").write_text("in the way")
    with pytest.raises(DeploymentError, match=r"cannot write to .*run: File exists"):
        room.check_room(settings(artifacts))


def test_the_last_line_of_every_process_that_said_something_is_found(tmp_path: Path) -> None:
    logs = tmp_path / "session_2026" / "logs"
    logs.mkdir(parents=True)
    (logs / "worker-1-01-7.err").write_text(":actor_name:KernelProcess\n")
    (logs / "worker-2-01-8.err").write_text("Traceback\n\nImportError: libtorch.so\n:job_id:1\n")
    (logs / "raylet.err").write_text("of no process of ours\n")
    (tmp_path / "session_latest").symlink_to(logs.parent)
    assert last_error_lines(tmp_path) == ["ImportError: libtorch.so"]
    assert last_error_lines(tmp_path / "none") == []
