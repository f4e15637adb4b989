"""What the registry reads of releases, its node and a training, also when files are damaged."""

import json
from datetime import UTC, datetime
from pathlib import Path

from actors.registry.overview_source import OverviewSource
from constellation.errors import DeploymentError
from constellation.releases.store import ReleaseStore
from constellation.telemetry.process_metrics import READ_FAILURES
from constellation.telemetry.training_status import STATUS_FILE
from constellation.wire.run_lock import owned
from tests.actors.test_placement_file import spec
from tests.releases.drafts import write

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def source(folder: Path) -> OverviewSource:
    return OverviewSource(spec(folder), "n1", "127.0.0.1")


def write_status(folder: Path, state: str) -> None:
    rows = {"k": {"kernel": "k", "state": state}}
    (folder / "artifacts").mkdir(exist_ok=True)
    content = json.dumps({"updated": NOON.isoformat(), "kernels": rows})
    (folder / "artifacts" / STATUS_FILE).write_text(content, encoding="utf-8")


def failures(file: str) -> float:
    return float(READ_FAILURES.labels(file)._value.get())


def test_the_latest_ten_releases_are_listed_newest_first(tmp_path: Path) -> None:
    store = ReleaseStore(tmp_path / "artifacts", clock=lambda: 7.5)
    for number in range(1, 13):
        write(store, f"r{number}", parent=number - 1 or None)
    overview = source(tmp_path).read(4, 9.0)
    assert [each.number for each in overview.releases] == list(range(12, 2, -1))
    newest = overview.releases[0]
    assert (newest.made_s, newest.change, newest.parent) == (7.5, store.read(12).change, 11)
    assert overview.release_since_s == 9.0


def test_a_damaged_manifest_is_counted_once_and_leaves_the_other_releases(tmp_path: Path) -> None:
    store = ReleaseStore(tmp_path / "artifacts")
    for number in (1, 2):
        write(store, f"r{number}")
    (tmp_path / "artifacts" / "releases" / "1.msgpack").write_bytes(b"?")
    before, reads = failures("manifest"), source(tmp_path)
    for _ in range(3):
        assert [each.number for each in reads.read(4, 9.0).releases] == [2]
    assert failures("manifest") == before + 1


def test_a_damaged_status_of_a_training_hurts_nothing_else(tmp_path: Path) -> None:
    write(ReleaseStore(tmp_path / "artifacts"))
    (tmp_path / "artifacts" / STATUS_FILE).write_text("{" * 5_000_000, encoding="utf-8")
    before = failures("status")
    overview = source(tmp_path).read(4, 9.0)
    assert overview.training is None
    assert len(overview.releases) == len(overview.nodes) == 1
    assert failures("status") == before + 1
    write_status(tmp_path, "FINISHED")
    assert source(tmp_path).read(4, 9.0).training is not None


def test_a_training_runs_only_while_a_process_holds_the_artifacts(tmp_path: Path) -> None:
    write_status(tmp_path, "RUNNING")
    with owned(tmp_path / "artifacts", "training", DeploymentError):
        running = source(tmp_path).read(4, 9.0).training
    killed = source(tmp_path).read(4, 9.0).training
    assert running is not None
    assert killed is not None
    assert (running.state, running.kernels[0].state) == ("RUNNING", "RUNNING")
    assert (killed.state, killed.kernels[0].state) == ("STOPPED", "STOPPED")


def test_the_node_says_what_it_has_and_what_is_free(tmp_path: Path) -> None:
    [state] = source(tmp_path).read(4, 9.0).nodes
    assert (state.node.id, state.node.address, state.num_processes) == ("n1", "127.0.0.1", 4)
    assert 0 < state.memory_free_bytes <= state.node.memory_bytes
    assert state.disk_free_bytes > 0
    assert state.load_ratio >= 0


def test_a_run_folder_that_was_removed_has_no_room(tmp_path: Path) -> None:
    reads = source(tmp_path / "gone")
    assert reads.read(4, 9.0).nodes[0].disk_free_bytes == 0
