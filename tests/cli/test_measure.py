"""`measure-beta` and `basin`: real kernels without a running constellation."""

import importlib
import json
import shutil
from pathlib import Path

import pytest

from constellation.kernel.files.checkpoint import load_kernel
from constellation.kernel.observables.signature import load_signature
from tests.cli.conftest import Run

CONTEXTS = "32,64,128"


@pytest.fixture
def run_folder(artifacts: Path, tmp_path: Path) -> Path:
    """Return a run of its own: measuring writes into it."""
    return Path(shutil.copytree(artifacts, tmp_path / "run"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for name in ("imaplib", "smtplib", "poplib", "nntplib", "telnetlib", "ftplib", "bdb", "cmd"):
        try:
            source = str(importlib.util.find_spec(name).origin)
        except AttributeError:
            continue  # not in every Python
        (folder / f"{name}.txt").write_text(Path(source).read_text()[:4000])
    return folder


def measure(run: Run, run_folder: Path, text: Path, *flags: object) -> dict[str, object]:
    kernel = run_folder / "kernels" / "mail"
    result = run("measure-beta", kernel, "--text", text, "--contexts", CONTEXTS, *flags)
    assert result.exit_code == 0, result.stderr
    return dict(json.loads((run_folder / "beta_measurement.json").read_text()))


def test_a_kernel_is_measured_into_its_runs_folder(run: Run, run_folder: Path, text: Path) -> None:
    facts = measure(run, run_folder, text, "--documents", 4)
    kernel = load_kernel(run_folder / "kernels" / "mail")
    assert facts["weights_sha256"] == kernel.weights_hash
    assert facts["context_lengths"] == [32, 64, 128]
    assert facts["extrapolated"] == [False, False, False]
    assert facts["n"] == 4
    assert set(facts["beta_fit"]) == {"value", "std_error", "r_squared", "p_value", "ci95"}
    assert set(facts["other_reference_lengths"]) == {"32", "64", "128"}


def test_a_kernel_may_be_named_by_the_artifacts_that_it_is_of(
    run: Run, run_folder: Path, text: Path
) -> None:
    flags = ("--text", text, "--contexts", CONTEXTS, "--documents", 4)
    result = run("measure-beta", "mail", "--artifacts", run_folder, *flags)
    assert result.exit_code == 0, result.stderr
    facts = json.loads((run_folder / "beta_measurement.json").read_text())
    assert facts["kernel"] == str(run_folder / "kernels" / "mail")


@pytest.mark.slow
def test_the_table_says_what_the_file_does(run: Run, run_folder: Path, text: Path) -> None:
    kernel = run_folder / "kernels" / "mail"
    flags = ("--text", text, "--contexts", "64,256", "--plot", "b.png", "--out", "b.json")
    result = run("measure-beta", kernel, *flags)
    assert result.exit_code == 0, result.stderr
    facts = json.loads(Path("b.json").read_text())
    assert facts["conclusion_words"] in result.stdout
    assert "1 of 2 lengths lie beyond the trained context of 128" in result.stdout
    assert "extrapolated" in result.stdout
    assert f"{facts['kappa_measured'][0]:.4f}" in result.stdout
    assert Path("b.png").read_bytes().startswith(b"\x89PNG")
    assert not (run_folder / "beta_measurement.json").exists()
    again = run("measure-beta", kernel, *flags, "--json")
    assert json.loads(again.stdout) == {"out": "b.json", **facts}


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--contexts", "64,x"), 2, "whole numbers with commas"),
        (("--contexts", "64"), 2, "2 different ones"),
        (("--contexts", "64,1000000"), 2, "shorter contexts"),
        (("--coordizer", "nowhere"), 1, "missing"),
    ],
)
def test_what_cannot_be_measured_is_an_error_line(
    run: Run, artifacts: Path, text: Path, flags: tuple[str, str], code: int, said: str
) -> None:
    result = run("measure-beta", artifacts / "kernels" / "mail", "--text", text, *flags)
    assert result.exit_code == code
    assert said in result.stderr
    assert result.stderr.startswith("error: ")


def test_a_kernel_outside_a_run_needs_its_coordizer(
    run: Run, artifacts: Path, text: Path, tmp_path: Path
) -> None:
    alone = shutil.copytree(artifacts / "kernels" / "mail", tmp_path / "a" / "b" / "mail")
    flags = ("--text", text, "--contexts", CONTEXTS, "--json")
    lost = run("measure-beta", alone, *flags)
    assert (lost.exit_code, "--coordizer" in lost.stderr) == (2, True)
    given = run("measure-beta", alone, *flags, "--coordizer", artifacts / "coordizer")
    assert given.exit_code == 0, given.stderr
    assert (tmp_path / "beta_measurement.json").exists()


# --- signatures ---------------------------------------------------------------------------------


def extract(run: Run, artifacts: Path, name: str, text: Path) -> Path:
    out = Path(f"{name}.basin")
    result = run("basin", "extract", artifacts / "kernels" / name, out, "--text", text)
    assert result.exit_code == 0, result.stderr
    assert f"{out.stat().st_size} bytes" in result.stdout
    return out


def test_signatures_are_extracted_and_compared(run: Run, artifacts: Path, text: Path) -> None:
    mail, numbers = (extract(run, artifacts, name, text) for name in ("mail", "numbers"))
    taken = load_signature(mail)
    assert taken.kernel_hash == load_kernel(artifacts / "kernels" / "mail").weights_hash
    assert taken.basin_source == "coordizer"
    assert 1000 <= mail.stat().st_size <= 4096
    found = json.loads(run("basin", "match", mail, numbers, "--json").stdout)
    assert found["distance"] == 0  # the same texts, and kernels without a head
    assert found["kappa_difference"] == pytest.approx(0, abs=1e-5)
    shown = run("basin", "match", mail, numbers).stdout
    assert found["words"] in shown
    assert "note: the kernels have no basin head" in shown


def test_an_extracted_signature_is_shown(run: Run, artifacts: Path, text: Path) -> None:
    kernel = artifacts / "kernels" / "mail"
    result = run("basin", "extract", kernel, "m.basin", "--text", text, "--json", "--texts", 5)
    facts = json.loads(result.stdout)
    assert facts["hash"] == load_signature("m.basin").hash
    assert facts["num_texts"] == 5
    assert facts["phi"]["value"] is None  # the context holds 128 tokens
    shown = run("basin", "extract", kernel, "m.basin", "--text", text).stdout
    assert "not measured: needs texts and a context of 256 tokens" in shown


def test_a_damaged_signature_is_an_error_line(run: Run, artifacts: Path, text: Path) -> None:
    whole = extract(run, artifacts, "mail", text)
    Path("cut.basin").write_bytes(whole.read_bytes()[:-1])
    result = run("basin", "match", whole, "cut.basin")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: cut.basin: ")
