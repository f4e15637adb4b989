"""A machine of a constellation, without Ray: what it provides, reads, proves and reports."""

import asyncio
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from actors.folders import NodeFolder
from actors.log_reader import PART_BYTES_MAX
from actors.node.accelerators import accelerators, parsed
from actors.node.host import NodeHost
from constellation.errors import ArtifactError, ConfigError, DeploymentError
from constellation.records import Device, Node
from constellation.releases.blob_sources import BLOBS_PATH, FolderSource, Source
from constellation.releases.blob_transfer import Attempt, TransferLimits
from constellation.releases.manifest import Release
from constellation.releases.manifest_file import pack_release
from constellation.releases.store import ReleaseStore
from tests.releases.drafts import draft

LAW = ("kernels/law",)
QUICK = TransferLimits(stall_s=1.0, num_rounds=1, pause_s=0.0)


def machine(tmp_path: Path, artifacts: Path, name: str = "node", **options: Any) -> NodeHost:
    node = Node(id=name, address="127.0.0.1", memory_bytes=2**30)
    folder = NodeFolder(tmp_path / name)
    return NodeHost(node, folder, artifacts, limits=QUICK, **options)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return the artifacts of the registry's machine."""
    store = ReleaseStore(tmp_path / "home")
    with store.adding() as writer:
        store.write(draft(writer))
    return tmp_path / "home"


def manifest_of(home: Path) -> bytes:
    return ReleaseStore(home).manifest(1)


def provide(host: NodeHost, manifest: bytes, peers: Sequence[Source] = ()) -> Path:
    async def none() -> Sequence[Source]:
        return peers

    return asyncio.run(host.provide(manifest, LAW, none))


def weights_in(folder: Path) -> bytes:
    store = ReleaseStore(folder)
    return (store.part(1, *LAW) / LAW[0] / "weights.safetensors").read_bytes()


# --- releases -----------------------------------------------------------------------------------


def test_a_machine_that_sees_the_artifacts_copies_nothing(tmp_path: Path, home: Path) -> None:
    host = machine(tmp_path, home)
    assert provide(host, manifest_of(home)) == home
    assert not (tmp_path / "node").exists()


def test_a_machine_without_artifacts_fetches_from_another(tmp_path: Path, home: Path) -> None:
    host = machine(tmp_path, tmp_path / "nothing here")
    folder = provide(host, manifest_of(home), [FolderSource(home)])
    assert folder == tmp_path / "node/store"
    assert weights_in(folder) == b"weights of first"


def test_artifacts_of_another_training_in_the_same_folder_are_not_served(
    tmp_path: Path, home: Path
) -> None:
    other = ReleaseStore(tmp_path / "other")
    with other.adding() as writer:
        other.write(draft(writer, "other"))
    host = machine(tmp_path, tmp_path / "other")
    folder = provide(host, manifest_of(home), [FolderSource(home)])
    assert weights_in(folder) == b"weights of first"


def test_artifacts_that_miss_a_file_are_a_source_of_the_others(tmp_path: Path, home: Path) -> None:
    attempts: list[Attempt] = []
    release = ReleaseStore(home).read(1)
    weights = release.kernel("law").files["weights.safetensors"]
    (home / BLOBS_PATH / weights.sha256).rename(tmp_path / "elsewhere")
    host = machine(tmp_path, home, note=attempts.append)
    with pytest.raises(ArtifactError, match="absent"):
        provide(host, manifest_of(home))
    (tmp_path / "elsewhere").rename(home / BLOBS_PATH / weights.sha256)
    assert provide(host, manifest_of(home)) == home


def test_a_machine_reads_from_the_storage_before_it_asks_others(tmp_path: Path, home: Path) -> None:
    attempts: list[Attempt] = []
    host = machine(tmp_path, tmp_path / "nothing here", storage=home.as_uri(), note=attempts.append)
    weights_in(provide(host, manifest_of(home)))
    assert {each.kind for each in attempts if each.outcome == "ok"} == {"uri"}


def test_a_machine_delivers_what_it_keeps_and_what_its_artifacts_hold(
    tmp_path: Path, home: Path
) -> None:
    weights = ReleaseStore(home).read(1).kernel("law").files["weights.safetensors"]
    keeper = machine(tmp_path, tmp_path / "nothing here")
    assert keeper.find_blob(weights.sha256) is None
    provide(keeper, manifest_of(home), [FolderSource(home)])
    for host in (keeper, machine(tmp_path, home, "second")):
        found = host.find_blob(weights.sha256)
        assert found is not None
        assert found.read_bytes() == b"weights of first"


def test_a_damaged_manifest_is_refused(tmp_path: Path, home: Path) -> None:
    with pytest.raises(ArtifactError, match="manifest from the registry"):
        provide(machine(tmp_path, home), manifest_of(home)[:-1])


def test_manifests_of_a_store_are_those_that_were_written(home: Path) -> None:
    release: Release = ReleaseStore(home).read(1)
    assert manifest_of(home) == pack_release(release)


def test_weights_of_an_earlier_deployment_are_removed_and_those_of_this_one_stay(
    tmp_path: Path,
) -> None:
    host = machine(tmp_path, tmp_path)
    weights = tmp_path / "node/weights/mapped.safetensors"
    weights.parent.mkdir(parents=True)
    for deployment, stays in (("first", False), ("first", True), ("second", False)):
        weights.parent.mkdir(exist_ok=True)
        weights.write_bytes(b"weights")
        host.clear_weights(deployment)
        assert weights.exists() is stays


# --- logs ---------------------------------------------------------------------------------------


def log_of(tmp_path: Path, content: bytes) -> NodeHost:
    path = NodeFolder(tmp_path / "node").log_path("kernel-law")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return machine(tmp_path, tmp_path)


def test_the_last_lines_are_read_and_then_what_was_added(tmp_path: Path) -> None:
    host = log_of(tmp_path, b"one\ntwo\nthree\nhal")
    last = host.read_log("kernel-law", None, 2)
    assert last.text == "two\nthree\n"
    log_of(tmp_path, b"one\ntwo\nthree\nhalf\nfour\n")
    assert host.read_log("kernel-law", last.offset, 0).text == "half\nfour\n"


def test_a_log_that_was_replaced_is_read_from_its_beginning(tmp_path: Path) -> None:
    host = log_of(tmp_path, b"new\n")
    assert host.read_log("kernel-law", 1000, 0).text == "new\n"


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    host = machine(tmp_path, tmp_path)
    assert host.read_log("kernel-law", None, 10).text == ""
    assert host.read_log("kernel-law", 5, 10).text == ""


def test_a_part_is_bounded_and_begins_with_a_whole_line(tmp_path: Path) -> None:
    lines = b"".join(b"%08d\n" % number for number in range(PART_BYTES_MAX // 8))
    host = log_of(tmp_path, lines)
    part = host.read_log("kernel-law", None, 10**6)
    assert len(part.text) <= PART_BYTES_MAX
    assert all(len(line) == 8 for line in part.text.splitlines())
    assert part.offset == len(lines)


def test_a_line_without_an_end_is_read_in_parts(tmp_path: Path) -> None:
    host = log_of(tmp_path, b"x" * (PART_BYTES_MAX + 5) + b"\n")
    first = host.read_log("kernel-law", 0, 0)
    assert len(first.text) == PART_BYTES_MAX
    assert host.read_log("kernel-law", first.offset, 0).text == "xxxxx\n"


@pytest.mark.parametrize("member", ["", "../secret", "/etc/passwd", ".hidden"])
def test_nothing_but_logs_can_be_read(tmp_path: Path, member: str) -> None:
    with pytest.raises(ConfigError, match="names no member"):
        machine(tmp_path, tmp_path).read_log(member, None, 10)


# --- ports, load, devices -----------------------------------------------------------------------


def test_a_port_in_use_is_named_with_the_machine(tmp_path: Path) -> None:
    host = machine(tmp_path, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(DeploymentError, match=f"node 127.0.0.1 .* 127.0.0.1:{port}"):
            host.prove_ports([("127.0.0.1", 0), ("127.0.0.1", port)])
    host.prove_ports([("127.0.0.1", port), ("127.0.0.1", 0)])


def test_one_port_is_not_proved_twice(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(DeploymentError, match="choose another port"):
        machine(tmp_path, tmp_path).prove_ports([("127.0.0.1", port)] * 2)


def test_an_address_of_another_machine_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="choose an address of that machine"):
        machine(tmp_path, tmp_path).prove_ports([("192.0.2.1", 0)])


def test_a_report_says_how_loaded_the_machine_is(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    state = machine(tmp_path, tmp_path).report(3)
    assert state.num_processes == 3
    assert state.memory_free_bytes > 0
    assert state.disk_free_bytes > 0


def test_devices_are_read_from_the_drivers_table() -> None:
    assert parsed("0, 143771\n1, 143771\n") == (
        Device(name="cuda:0", memory_bytes=143771 * 2**20),
        Device(name="cuda:1", memory_bytes=143771 * 2**20),
    )


@pytest.mark.parametrize("table", ["[N/A], 1\n", "0\n", "0, 1, 2\n"])
def test_another_table_is_no_table_of_devices(table: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(table)


def test_without_gpus_no_program_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("subprocess.run")
    assert accelerators(0.0) == ()


def test_a_machine_whose_driver_does_not_answer_has_no_devices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actors.node.accelerators._COMMAND", ("/nonexistent/program",))
    assert accelerators(2.0) == ()


def test_the_own_process_is_no_actor() -> None:
    from actors.local_processes import is_actor, kill_actor

    assert not is_actor(os.getpid())
    assert not kill_actor(os.getpid())
    assert not is_actor(0)
