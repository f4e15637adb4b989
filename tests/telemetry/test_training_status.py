"""The file in which training says how far it is: read as written, and refused when damaged."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from constellation.errors import ArtifactError
from constellation.records import KernelTraining
from constellation.telemetry.training_status import SIZE_MAX, read_training
from training.progress.events import KernelProgress, KernelStateChanged, PartStarted
from training.progress.run_log import RunLog

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def progress(kernel: str, step: int) -> KernelProgress:
    return KernelProgress(
        kernel=kernel,
        stage="branch",
        step=step,
        num_steps=10,
        loss_bits=5.0,
        bits_per_byte=1.5,
        tokens_per_second=2000.0,
        eta_s=4.0,
        gradient_norm=0.5,
        dev_bits_per_byte=1.75,
        phase="TACKING",
        guard="WARN",
    )


def test_what_a_training_run_writes_is_read(tmp_path: Path) -> None:
    log = RunLog(tmp_path, now=lambda: NOON, status_every_s=0.0)
    log(PartStarted(part="branches"))
    log(KernelStateChanged(kernel="rust", state="STAGED"))
    log(progress("python", 6))
    found = read_training(tmp_path / "status.json")
    assert found is not None
    assert (found.state, found.updated_s) == ("RUNNING", NOON.timestamp())
    assert found.kernels == (
        KernelTraining(
            kernel="python",
            state="RUNNING",
            step=6,
            num_steps=10,
            bits_per_byte=1.5,
            dev_bits_per_byte=1.75,
            tokens_per_second=2000.0,
            eta_s=4.0,
            phase="TACKING",
            guard="WARN",
        ),
        KernelTraining(kernel="rust", state="STAGED"),
    )


def test_a_folder_without_a_training_has_no_status(tmp_path: Path) -> None:
    assert read_training(tmp_path / "status.json") is None


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["FINISHED", "FINISHED"], "FINISHED"),
        (["FINISHED", "STOPPED"], "STOPPED"),
        (["STOPPED", "FAILED"], "FAILED"),
        (["FAILED", "STAGED"], "RUNNING"),
        ([], "FINISHED"),
    ],
)
def test_the_whole_run_is_what_its_worst_kernel_is(
    states: list[str], expected: str, tmp_path: Path
) -> None:
    rows = {str(place): {"kernel": "k", "state": state} for place, state in enumerate(states)}
    found = read_training(written(tmp_path, {"updated": NOON.isoformat(), "kernels": rows}))
    assert found is not None
    assert found.state == expected


def written(folder: Path, content: Any) -> Path:
    path = folder / "status.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


ROW = {"kernel": "k", "state": "RUNNING"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        " " * (SIZE_MAX + 1),
        {"kernels": {}},
        {"updated": "yesterday", "kernels": {}},
        {"updated": NOON.isoformat(), "kernels": []},
        {"updated": NOON.isoformat(), "kernels": {"k": []}},
        {"updated": NOON.isoformat(), "kernels": {"k": {"state": "RUNNING"}}},
        {"updated": NOON.isoformat(), "kernels": {"k": {**ROW, "state": "DANCING"}}},
        {"updated": NOON.isoformat(), "kernels": {"k": {**ROW, "kernel": "x" * 65}}},
        {"updated": NOON.isoformat(), "kernels": {"k": {**ROW, "kernel": "a\u001b[2J"}}},
        {"updated": NOON.isoformat(), "kernels": {"k": {**ROW, "step": "3"}}},
        {"updated": NOON.isoformat(), "kernels": {"k": {**ROW, "step": 1.5}}},
        {"updated": NOON.isoformat(), "kernels": {"k": {**ROW, "eta_s": True}}},
        {"updated": NOON.isoformat(), "kernels": {str(n): ROW for n in range(257)}},
    ],
)
def test_a_damaged_status_is_an_error_that_names_the_file(content: Any, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ArtifactError, match="is not the status of a training") as caught:
        read_training(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "status.json")
    with pytest.raises(ArtifactError, match="not a file"):
        read_training(tmp_path / "status.json")


def test_figures_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    row = {**ROW, "bits_per_byte": float("nan"), "eta_s": float("inf"), "step": -1}
    found = read_training(written(tmp_path, {"updated": NOON.isoformat(), "kernels": {"k": row}}))
    assert found is not None
    assert found.kernels == (KernelTraining(kernel="k", state="RUNNING"),)
