"""A run folder without room is refused before anything is started, and by its true name."""

from pathlib import Path

import pytest

from cluster import disk_space
from cluster.worker_errors import last_error_lines
from constellation.errors import DeploymentError
from constellation.releases.manifest import Draft, Engine, KernelFiles
from constellation.releases.store import ReleaseStore
from constellation.settings import Settings
from tests.support.disks import files_of_at_most

WEIGHTS_BYTES = 3_000_000


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """Write a release of three kernels, two of which have the same weights."""
    publish(tmp_path / "artifacts")
    write_kernel(tmp_path / "artifacts" / "kernels" / "left")  # no part of the release
    return tmp_path / "artifacts"


def publish(folder: Path, *, adapters: tuple[str, ...] = ()) -> None:
    store = ReleaseStore(folder)
    with store.adding() as put:

        def kernel(name: str, engine: Engine, base: str | None = None) -> KernelFiles:
            file = "adapter" if base else "weights"
            mark = b"b" if name == "twin" else name.encode()
            files = {f"{file}.safetensors": put.put_bytes(mark.ljust(WEIGHTS_BYTES, b"."))}
            domain = put.put_bytes(b"no text")
            return KernelFiles(name=name, engine=engine, files=files, base=base, domain=domain)

        base = put.put_bytes(b"base".ljust(WEIGHTS_BYTES, b"."))
        own = [kernel(name, Engine.DECODER) for name in ("a", "b", "twin")]
        over = [kernel(name, Engine.ADAPTER, base.sha256) for name in adapters]
        draft = Draft(
            change="test",
            parent=None,
            coordizer={"meta.json": put.put_bytes(b"{}")},
            table=put.put_bytes(b"table"),
            kernels=(*own, *over),
            bases={base.sha256: {"weights.safetensors": base}} if adapters else {},
            options={},
        )
        version = store.write(draft).version
    store.switch(version)


def write_kernel(folder: Path) -> None:
    folder.mkdir(parents=True)
    with (folder / "weights.safetensors").open("wb") as file:
        file.truncate(WEIGHTS_BYTES)


def settings(artifacts: Path, **kernel: int) -> Settings:
    return Settings(artifacts=artifacts, run_dir=artifacts.parent / "run", kernel=kernel)  # type: ignore[arg-type]


def test_every_weight_that_is_mapped_is_counted_once(artifacts: Path) -> None:
    small = disk_space.SMALL_BYTES
    assert disk_space.needed_bytes(settings(artifacts)) == small + 2 * WEIGHTS_BYTES
    assert disk_space.needed_bytes(settings(artifacts, per_actor=4)) == small
    publish(artifacts, adapters=("d", "e"))
    assert disk_space.needed_bytes(settings(artifacts, per_actor=4)) == small + WEIGHTS_BYTES


def test_copies_that_will_be_removed_first_make_room(artifacts: Path) -> None:
    kept = artifacts.parent / "run" / "weights"
    kept.mkdir(parents=True)
    (kept / "1.safetensors").write_bytes(bytes(1_000_000))
    needed = disk_space.SMALL_BYTES + 2 * WEIGHTS_BYTES - 1_000_000
    assert disk_space.needed_bytes(settings(artifacts)) == needed


def test_a_full_disk_is_named_with_what_is_needed_and_what_is_free(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_space, "_free_bytes", lambda folder: 5_000_000)
    with pytest.raises(DeploymentError, match=r"no space left in .*run: needs 8 MB, 5 MB are free"):
        disk_space.check_room(settings(artifacts))


def test_a_folder_that_takes_less_than_the_disk_has_is_refused_too(artifacts: Path) -> None:
    """As with a quota: what is free on the disk is not free for this user."""
    with (
        files_of_at_most(WEIGHTS_BYTES),
        pytest.raises(DeploymentError, match=r"cannot write to .*run: File too large; .*--run-dir"),
    ):
        disk_space.check_room(settings(artifacts))
    disk_space.check_room(settings(artifacts))
    assert list((artifacts.parent / "run").iterdir()) == []


def test_a_run_folder_that_is_a_file_is_refused(artifacts: Path) -> None:
    (artifacts.parent / "run").write_text("in the way")
    with pytest.raises(DeploymentError, match=r"cannot write to .*run: File exists"):
        disk_space.check_room(settings(artifacts))


def test_the_last_line_of_every_process_that_said_something_is_found(tmp_path: Path) -> None:
    logs = tmp_path / "session_2026" / "logs"
    logs.mkdir(parents=True)
    (logs / "worker-1-01-7.err").write_text(":actor_name:KernelProcess\n")
    (logs / "worker-2-01-8.err").write_text("Traceback\n\nImportError: libtorch.so\n:job_id:1\n")
    (logs / "raylet.err").write_text("of no process of ours\n")
    (tmp_path / "session_latest").symlink_to(logs.parent)
    assert last_error_lines(tmp_path) == ["ImportError: libtorch.so"]
    assert last_error_lines(tmp_path / "none") == []
