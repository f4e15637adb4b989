"""GPUs are read from the driver's program; a stand-in plays the program where there is no GPU."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from actors import gpu_readings
from actors.gpu_readings import PROGRAM, read_gpus
from constellation.telemetry.node_metrics import NodeMetrics

Says = Callable[[str], None]


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Says:
    """Return a function that puts a program in place, with what the program does."""

    def put(script: str) -> None:
        (tmp_path / PROGRAM).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / PROGRAM).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return put


def test_every_gpu_is_read_with_its_memory_and_load(says: Says) -> None:
    says("echo '0, 143771, 771, 35'; echo '1, 24576, 0, [N/A]'")
    first, second = read_gpus()
    assert (first.name, second.name) == ("cuda:0", "cuda:1")
    assert first.memory_bytes == 143_771 * 2**20
    assert first.memory_free_bytes == 143_000 * 2**20
    assert first.busy_ratio == 0.35
    assert str(second.busy_ratio) == "nan"


@pytest.mark.parametrize(
    "script", ["exit 9", "echo 'no devices were found'", "echo '0, [N/A], 1, 2'"]
)
def test_a_program_without_gpus_or_with_an_error_means_none(says: Says, script: str) -> None:
    says(script)
    assert read_gpus() == ()


def test_a_driver_that_hangs_leaves_the_gpus_out(
    says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    says("exec sleep 60")
    monkeypatch.setattr(gpu_readings, "ANSWER_S", 0.1)
    assert read_gpus() == ()


def test_a_machine_without_the_program_has_no_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_gpus() == ()


def test_a_gpu_that_is_gone_is_shown_no_longer(says: Says) -> None:
    says("echo '0, 1024, 24, 50'")
    metrics = NodeMetrics(CollectorRegistry())
    metrics.show_gpus("n", read_gpus())
    text = generate_latest(metrics.registry).decode()
    assert 'gpu_memory_bytes{gpu="cuda:0",kind="free",node="n"} 1.048576e+09\n' in text
    assert 'gpu_busy_ratio{gpu="cuda:0",node="n"} 0.5\n' in text
    metrics.show_gpus("n", ())
    assert 'gpu="cuda:0"' not in generate_latest(metrics.registry).decode()
