"""What reports and checks of a run say of kernels that joined it since it was trained."""

import shutil
from pathlib import Path

import pytest

from constellation.errors import ArtifactError
from constellation.releases.store import ReleaseStore
from tests.training.served import leave
from tests.training.test_again import BRANCH, grown, out, text
from tests.training.test_growth import STOCKS
from tests.training.test_pipeline import alone, recipe
from training.pipeline import train
from training.report.report_files import write_report
from training.validation.run import validate_gates, validate_run

pytestmark = pytest.mark.slow


__all__ = ["grown", "out", "text"]  # fixtures


def test_figures_are_of_the_runs_own_kernels_and_name_the_others(text: Path, out: Path) -> None:
    result = train(recipe(text, branch_stage=BRANCH), out, trainer=alone)
    assert result.kernels == tuple(sorted(STOCKS))
    assert result.report["joined_since"] == ["forge", "guest"]
    routed = [row["routed_to"] for row in result.report["held_out"]["domains"].values()]
    assert set().union(*routed) <= set(STOCKS)
    shown = write_report(out).path.read_text()
    assert "since they joined after the training: forge, guest" in shown
    assert "guest writes none here: a Hugging Face model, with tokens of its own" in shown


def test_a_report_names_what_joined_after_it(out: Path) -> None:
    """Without a training in between: the kernels joined after `report.json` was written."""
    assert write_report(out).summary["joined_since"] == ["forge", "guest"]


def test_the_checks_of_a_run_pass_over_a_model_with_tokens_of_its_own(out: Path) -> None:
    report = validate_run(out)
    guest = {check.name: check for check in report.groups["guest"]}
    assert guest["files and hash"].passed is True
    assert guest["vocabulary"].passed is None
    assert "tokens of its own" in guest["vocabulary"].detail
    assert {check.name for check in report.groups["forge"]} > {"better than unigrams"}
    gates = {check.name: check for check in validate_gates(out).groups["gate 2"]}
    assert gates["integration of guest"].passed is None
    store = ReleaseStore(out)
    shutil.rmtree(store.current_folder())  # copied with the run: files, not links to the blobs
    weights = store.current_folder() / "kernels" / "guest" / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(damaged)
    assert validate_run(out).groups["guest"][0].passed is False
    weights.write_bytes(damaged[:-1])
    with pytest.raises(ArtifactError, match="blobs"):
        validate_run(out)


def test_a_kernel_that_was_removed_is_looked_at_no_more(out: Path) -> None:
    """Its folder stays, and neither a report nor a check goes through it."""
    for name in ("guest", "forge"):
        leave(out, name)
    (out / "kernels" / "guest" / "config.json").write_text("{")
    assert not {"guest", "forge"} & set(validate_run(out).groups)
    samples = write_report(out).summary["samples"]
    assert {sample["kernel"] for sample in samples["samples"]} == set(STOCKS)
    assert samples["left_out"] == {}
