"""A training in a folder with a user's own modules, on a machine with other users."""

import os
from pathlib import Path

import pytest

from cluster.training_process import train_in_process
from tests.support.strangers import (
    IS_ROOT,
    open_to_others,
    places_to_guard,
    private_folders,
    try_as_stranger,
)
from tests.training import ray_runs
from training.progress.events import Event, KernelProgress
from training.runs.worker import is_finished

pytestmark = pytest.mark.ray

MODULES = ("secrets", "numpy", "queue", "types", "socket", "cluster", "training", "actors", "ray")


def test_a_training_runs_no_file_of_the_working_directory_and_is_closed_to_other_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    mine = f"open({str(work / 'was-run')!r}, 'a').write(__file__)\nraise SystemExit('mine')\n"
    for name in MODULES:
        (work / f"{name}.py").write_text(mine, encoding="utf-8")
    run = ray_runs.plan(tmp_path / "run", "per-actor", ("a",), steps=60, checkpoint_every=20)
    monkeypatch.chdir(work)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    places: set[Path] = set()
    attempts: list[str] = []

    def look_once(event: Event) -> None:
        if isinstance(event, KernelProgress) and not places:
            places.update(places_to_guard(os.getpid(), apart=(tmp_path,)))
            attempts.extend(try_as_stranger(places) if IS_ROOT else [])
            assert open_to_others(places) == {}

    train_in_process(run, ray_runs.workers(max_failures=0), look_once)
    assert is_finished(run, "a")
    assert not (work / "was-run").exists()
    assert {"plasma_store", "raylet", "session_latest"} <= {place.name for place in places}
    assert attempts == []
    assert not any(folder.exists() for folder in private_folders(places))
