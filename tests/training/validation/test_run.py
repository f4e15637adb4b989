"""Presets, kernels and runs as a whole, by the library and by the command."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli.main import app
from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ArtifactError, ConfigError
from constellation.releases.store import ReleaseStore
from training.validation.run import (
    validate_gates,
    validate_kernel,
    validate_preset,
    validate_run,
)

pytestmark = pytest.mark.slow


def constellation(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_preset_is_checked_with_fresh_weights() -> None:
    report = validate_preset("spark")
    assert report.passed
    assert len(report.groups["architecture"]) == 6
    with pytest.raises(ConfigError, match="presets: spark"):
        validate_preset("sparkle")


@pytest.mark.slow
def test_a_run_is_checked_kernel_by_kernel(run_folder: Path) -> None:
    report = validate_run(run_folder)
    assert list(report.groups) == ["architecture", "seed", "bake", "sea", "stars"]
    for name in ("seed", "bake", "sea", "stars"):
        checks = {check.name: check for check in report.groups[name]}
        assert checks["files and hash"].passed
        assert checks["vocabulary"].passed
        assert checks["better than unigrams"].passed
        assert checks["writing"].value is not None


def test_a_kernel_of_another_vocabulary_is_told(run_folder: Path, tmp_path: Path) -> None:
    kernel = Path(shutil.copytree(run_folder / "kernels" / "sea", tmp_path / "sea"))
    facts = json.loads((kernel / "kernel.json").read_text())
    (kernel / "kernel.json").write_text(json.dumps(facts | {"tokenizer_hash": "0" * 64}))
    report = validate_kernel(kernel, coordizer=Coordizer.load(run_folder / "coordizer"))
    checks = {check.name: check for check in report.groups["kernel"]}
    assert checks["vocabulary"].passed is False
    assert checks["calibration"].passed is None


def test_the_gates_are_judged_on_a_run(run_folder: Path) -> None:
    report = validate_gates(run_folder)
    first = {check.name: check for check in report.groups["gate 1"]}
    assert first["round trip"].passed
    assert first["vocabulary"].limit == 300
    second = {check.name: check for check in report.groups["gate 2"]}
    assert second["basins cluster by kernel"].passed
    # Its context is too short for Phi: what was not measured has not passed.
    assert second["integration of sea"].passed is False


def test_an_unfinished_run_is_an_error(tmp_path: Path, run_folder: Path) -> None:
    out = Path(shutil.copytree(run_folder, tmp_path / "out"))
    (out / "current").unlink()
    shutil.rmtree(out / "releases")
    shutil.rmtree(out / "kernels")
    (out / "kernels").mkdir()
    with pytest.raises(ArtifactError, match="finish the training"):
        validate_run(out)


@pytest.mark.slow
def test_the_command_writes_the_report_and_says_what_failed(
    run_folder: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(run_folder, tmp_path / "out"))
    store = ReleaseStore(out)
    shutil.rmtree(store.current_folder())  # copied with the run: files, not links to the blobs
    weights = store.current_folder() / "kernels" / "sea" / "weights.safetensors"
    weights.chmod(0o644)
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    result = constellation("validate", out)
    assert result.exit_code == 1
    assert "failed: " in result.stdout
    assert "sea: files and hash" in result.stdout
    assert "stars: files and hash" not in result.stdout.splitlines()[-1]
    written = json.loads((out / "validation_report.json").read_text())
    assert written["passed"] is False
    keys = {"name", "passed", "value", "limit", "detail"}
    assert all(set(check) == keys for check in written["checks"])
    assert "architecture: causality" in {check["name"] for check in written["checks"]}


@pytest.mark.slow
def test_the_command_checks_presets_kernels_and_gates(run_folder: Path, tmp_path: Path) -> None:
    assert constellation("validate", "spark").exit_code == 0
    text = tmp_path / "held-out.txt"
    text.write_text("wave tide salt harbour anchor gull keel drift storm\n" * 60)
    result = constellation("validate", run_folder / "kernels" / "sea", "--text", text, "--json")
    found = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert found["kernel: files and hash"]["passed"]
    assert found["kernel: better than unigrams"]["value"] is not None
    assert result.exit_code == (0 if all(c["passed"] is not False for c in found.values()) else 1)
    judged = constellation("validate", "gates", run_folder)
    assert judged.exit_code == 1
    assert "gate 2: integration of sea" in judged.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing-of-that-name",), "presets: spark"),
        (("gates",), "validate gates RUN"),
        (("spark", "elsewhere"), "validate gates RUN"),
    ],
)
def test_a_wrong_target_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    result = constellation("validate", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
