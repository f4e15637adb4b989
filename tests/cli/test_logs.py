"""`constellation logs`: records of all processes in the order of time, or of one."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run


def record(second: int, message: str, **facts: Any) -> str:
    time = f"2026-12-01T00:00:{second:02d}+0000"
    return json.dumps({"time": time, "level": "info", "logger": "x", "message": message, **facts})


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "logs"
    folder.mkdir(parents=True)
    registry = [record(1, "member up", member_pid=7), record(3, "release served", release=2)]
    (folder / "registry.jsonl").write_text("\n".join(registry) + "\n", encoding="utf-8")
    (folder / "router.jsonl").write_text(
        record(2, "router serves") + "\nno json\n" + record(4, "half a re")[:-3], encoding="utf-8"
    )
    return tmp_path / "run"


def test_records_of_all_processes_come_in_the_order_of_time(run: Run, run_dir: Path) -> None:
    shown = run("logs", "--run-dir", str(run_dir)).stdout.splitlines()
    assert [line.split(" ", 1)[1] for line in shown] == [
        "router : no json",
        "registry info: member up member_pid=7",
        "router info: router serves",
        "registry info: release served release=2",
    ]


def test_the_last_records_of_one_process_are_shown_as_json(run: Run, run_dir: Path) -> None:
    result = run("logs", "registry", "--lines", "1", "--json", "--run-dir", str(run_dir))
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(each["member"], each["message"], each["release"]) for each in found] == [
        ("registry", "release served", 2)
    ]


def test_an_unknown_process_is_named_with_those_that_there_are(run: Run, run_dir: Path) -> None:
    result = run("logs", "kernel-x", "--run-dir", str(run_dir))
    assert result.exit_code == 1
    assert "no log of 'kernel-x'; there are: registry, router" in result.stderr
    result = run("logs", "--run-dir", str(run_dir / "none"))
    assert "holds no logs" in result.stderr
