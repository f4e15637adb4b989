"""`doctor`: what is wrong is found, named, and comes with a mend."""

import json
import os
import shutil
import socket
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from cluster import state_file
from cluster.diagnosis import (
    ArtifactFacts,
    Finding,
    Level,
    MachineFacts,
    PortFacts,
    RunFacts,
    diagnose,
    parse_requirement,
)
from constellation.coordizer.coordizer import Coordizer
from constellation.releases.manifest import Draft
from constellation.releases.store import ReleaseStore
from constellation.releases.training_files import coordizer_parts
from tests.cli.conftest import Run
from tests.support.released import release
from tests.wire.fakes import Served

GIB = 2**30
RUNNING = RunFacts(endpoint="127.0.0.1:50051", pid=7, alive=True, answers=True)
WELL = MachineFacts(
    python=(3, 12, 1),
    packages={"numpy": "2.4.0", "ray": "2.60.1", "torch": "2.13.0+cpu"},
    requirements=["numpy>=2.0", "torch>=2.6", "ray[default,train]<2.61,>=2.60"],
    memory_free=8 * GIB,
    memory_total=16 * GIB,
    num_cores=4,
    open_files=65_536,
    gpus=(),
    shared_free=GIB,
    disk_free=9 * GIB,
    port=PortFacts(host="127.0.0.1", port=50051, free=True),
    num_rays=0,
    run=None,
    artifacts=ArtifactFacts(folder="a", exists=True, num_kernels=8),
)
TAKEN = PortFacts(host="127.0.0.1", port=50051, free=False, problem="Address already in use")


def test_nothing_is_wrong_with_a_good_machine() -> None:
    findings = diagnose(WELL)
    assert {found.level for found in findings} == {Level.OK}
    assert all(found.mend == "" for found in findings)


@pytest.mark.parametrize(
    ("change", "subject", "level"),
    [
        ({"python": (3, 10, 9)}, "python", Level.FAIL),
        ({"packages": {**WELL.packages, "numpy": "1.26.4"}}, "numpy", Level.FAIL),
        ({"packages": {**WELL.packages, "torch": None}}, "torch", Level.FAIL),
        ({"packages": {**WELL.packages, "ray": "2.61.0"}}, "ray version", Level.WARN),
        ({"packages": {**WELL.packages, "ray": "3.0.0rc1"}}, "ray version", Level.WARN),
        ({"memory_free": GIB // 2}, "memory", Level.FAIL),
        ({"memory_free": 2 * GIB}, "memory", Level.WARN),
        ({"num_cores": 1}, "cores", Level.WARN),
        ({"open_files": 1024}, "open files", Level.WARN),
        ({"shared_free": 2**20}, "shared memory", Level.WARN),
        ({"disk_free": 2**20}, "disk", Level.WARN),
        ({"port": TAKEN}, "port", Level.FAIL),
        ({"num_rays": 2}, "ray", Level.WARN),
        ({"run": replace(RUNNING, alive=False)}, "constellation", Level.WARN),
        ({"run": replace(RUNNING, answers=False)}, "constellation", Level.FAIL),
        ({"run": replace(RUNNING, kernels_down=("law",))}, "constellation", Level.WARN),
        ({"artifacts": ArtifactFacts(folder="a", exists=False)}, "artifacts", Level.WARN),
        (
            {"artifacts": ArtifactFacts(folder="a", exists=True, problems=("a/b: damaged",))},
            "artifacts",
            Level.FAIL,
        ),
    ],
)
def test_what_is_wrong_is_the_only_finding_and_has_a_mend(
    change: dict[str, Any], subject: str, level: Level
) -> None:
    (found,) = [found for found in diagnose(replace(WELL, **change)) if found.level != Level.OK]
    assert (found.subject, found.level) == (subject, level)
    assert found.detail
    assert found.mend


def _found(facts: MachineFacts, subject: str) -> Finding:
    (found,) = [found for found in diagnose(facts) if found.subject == subject]
    return found


def test_our_own_constellation_may_hold_port_and_ray() -> None:
    facts = replace(WELL, port=TAKEN, num_rays=1, run=RUNNING)
    assert _found(facts, "port").level is Level.OK
    assert _found(facts, "ray").level is Level.OK
    assert "all kernels up" in _found(facts, "constellation").detail


def test_accelerators_are_named_but_not_needed() -> None:
    assert "processor" in _found(WELL, "gpu").detail
    assert _found(replace(WELL, gpus=("H1", "H2")), "gpu").detail == "H1, H2"


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        ("ray[default,train]>=2.60", ("ray", "2.60")),
        ("ray[default,train]<2.61,>=2.60", ("ray", "2.60")),
        ("grpcio-tools==1.71.2", ("grpcio-tools", "1.71.2")),
        ('ruff>=0.9; extra == "dev"', None),
        ("anything", None),
    ],
)
def test_requirements_are_read(line: str, parsed: tuple[str, str] | None) -> None:
    assert parse_requirement(line) == parsed


def _doctor(run: Run, *arguments: object) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Return the exit code and the findings by subject."""
    result = run("doctor", "--json", *arguments)
    told = json.loads(result.stdout)
    assert told["ok"] == (result.exit_code == 0)
    findings: dict[str, list[tuple[str, str]]] = {}
    for found in told["findings"]:
        findings.setdefault(found["subject"], []).append((found["level"], found["detail"]))
    return result.exit_code, findings


def test_good_artifacts_load_and_belong_together(
    run: Run, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSTELLATION_SERVE__PORT", "0")
    code, findings = _doctor(run, "--artifacts", artifacts)
    assert code == 0
    ((level, detail),) = findings["artifacts"]
    assert level == "ok"
    assert "3 kernels load" in detail
    assert "torch 2." in findings["packages"][0][1]


def test_artifacts_that_are_damaged_or_mixed_up_are_each_named(
    run: Run, artifacts: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(artifacts, folder)
    described = folder / "kernels" / "network" / "kernel.json"
    content = json.loads(described.read_text())
    described.write_text(json.dumps({**content, "tokenizer_hash": "0" * 64}))
    release(folder, ["mail", "network", "numbers"])
    code, findings = _doctor(run, "--artifacts", folder)
    assert code == 1
    ((_, detail),) = findings["artifacts"]
    assert detail == "kernel 'network' was trained with another vocabulary"
    store = ReleaseStore(folder)
    files = store.read_current().files()
    spoil(store.blobs.path(files["kernels/mail/weights.safetensors"]))
    store.blobs.path(files["kernels/numbers/weights.safetensors"]).unlink()
    spoil(store.blobs.path(files["table.msgpack"]))
    code, findings = _doctor(run, "--artifacts", folder)
    assert code == 1
    details = [detail for _, detail in findings["artifacts"]]
    assert len(details) == 3
    for name in ("kernels/mail/weights", "kernels/numbers/weights", "table.msgpack"):
        assert any(detail.startswith(name) for detail in details)
    (folder / "current").write_bytes(b"x")
    assert (
        "instead of the number of a release"
        in _doctor(run, "--artifacts", folder)[1]["artifacts"][0][1]
    )


def spoil(path: Path) -> None:
    """Change the last byte of a file that is never changed."""
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")


def test_a_table_of_another_coordizer_is_found(run: Run, artifacts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(artifacts, folder)
    run("coordize", "train", Path(__file__), folder / "coordizer", "--vocab", 300)
    store = ReleaseStore(folder)
    before = store.read_current()
    with store.adding() as writer:
        other = coordizer_parts(Coordizer.load(folder / "coordizer"), writer)
        values = {field.name: getattr(before, field.name) for field in fields(Draft)}
        store.switch(store.write(Draft(**{**values, "coordizer": other})).version)
    code, findings = _doctor(run, "--artifacts", folder)
    assert code == 1
    details = [detail for _, detail in findings["artifacts"]]
    assert any("another coordizer" in detail for detail in details)
    assert sum("another vocabulary" in detail for detail in details) == 3


def test_a_taken_port_fails_with_a_way_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("CONSTELLATION_SERVE__PORT", str(server.getsockname()[1]))
        result = run("doctor")
    assert result.exit_code == 1
    assert "constellation up --port 0" in result.stdout


def test_a_running_constellation_is_asked(run: Run, served: Served) -> None:
    folder = Path("runs/local")
    folder.mkdir(parents=True)
    running = state_file.RunState(
        pid=os.getpid(),
        started=state_file.own_start_mark(),
        endpoint=served.endpoint,
        artifacts="x",
        kernels=("law",),
    )
    state_file.write_state(folder, running)
    ((level, detail),) = _doctor(run)[1]["constellation"]
    assert level == "warn"
    assert "law down" in detail


@pytest.mark.parametrize("content", ["not json", None])
def test_a_state_file_that_was_left_behind_is_told(run: Run, content: str | None) -> None:
    folder = Path("runs/local")
    folder.mkdir(parents=True)
    gone = state_file.RunState(pid=2**22, started="", endpoint="h:1", artifacts="x", kernels=())
    state_file.write_state(folder, gone)
    if content is not None:
        (folder / state_file.STATE_FILE).write_text(content)
    ((level, detail),) = _doctor(run)[1]["constellation"]
    assert (level, detail) == (
        "warn",
        "one ran from this run folder and ended without `constellation down`",
    )
