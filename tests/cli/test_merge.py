"""`merge`: its figures, its exit codes."""

import json
from pathlib import Path

import pytest

from constellation.kernel.files.checkpoint import load_kernel
from tests.cli.conftest import Run
from tests.training.branches import build_run, spoil


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_run(tmp_path_factory.mktemp("run"))


@pytest.mark.slow
def test_a_merge_is_scored_and_written(run: Run, finished: Path, tmp_path: Path) -> None:
    kernels = [finished / "kernels" / name for name in ("mail", "numbers")]
    flags = ("--out", "m", "--text", finished / "held_out")
    result = run("merge", *kernels, *flags, "--fisher", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert list(report["inputs"]) == [str(kernel) for kernel in kernels]
    assert report["written"] is True
    assert load_kernel(tmp_path / "m").facts["held_out_bits_per_byte"] == report["fisher"]
    shown = run("merge", *kernels, *flags).stdout
    assert f"{report['plain']:.4f}" in shown
    assert "wrote the plain average to m" in shown


def test_a_merge_that_is_worse_fails_and_leaves_nothing(
    run: Run, finished: Path, tmp_path: Path
) -> None:
    spoil(finished / "kernels" / "mail", tmp_path / "spoilt")
    kernels = [finished / "kernels" / "mail", tmp_path / "spoilt"]
    flags = ("--out", "m", "--text", finished / "held_out", "--coordizer", finished / "coordizer")
    result = run("merge", *kernels, *flags)
    assert result.exit_code == 1
    assert "not written" in result.stdout
    assert not (tmp_path / "m").exists()
    allowed = run("merge", *kernels, *flags, "--allow-worse", 99)
    assert allowed.exit_code == 0
    assert (tmp_path / "m").exists()


def test_one_kernel_is_no_merge(run: Run, finished: Path) -> None:
    result = run("merge", finished / "seed", "--out", "m", "--text", finished / "held_out")
    assert result.exit_code != 0
    assert "error: " in result.stderr
