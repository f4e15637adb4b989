"""`make setup` shows that it works while packages are installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"
INSTALLS = """#!/bin/sh
[ -e fail ] && exit 3
exec cat go-on >/dev/null
"""
"""In place of Python: an installation that lasts until somebody has written to `go-on`."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(MAKEFILE, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv/lib/python3/site-packages/numpy-2.0.dist-info").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(INSTALLS)
    python.chmod(0o755)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    subprocess.run(["mkfifo", tmp_path / "go-on"], check=True)
    return tmp_path


@pytest.mark.slow
def test_packages_are_counted_while_they_are_installed(checkout: Path) -> None:
    command = ["make", ".venv/.run"]
    with subprocess.Popen(command, cwd=checkout, stderr=subprocess.PIPE, text=True) as making:
        assert making.stderr is not None
        assert making.stderr.readline() == "installing into .venv: 1 packages (5 s)\n"
        (checkout / "go-on").write_text("")
        assert making.wait(timeout=30) == 0
    assert (checkout / ".venv" / ".run").exists()


@pytest.mark.slow
def test_an_installation_that_fails_fails_the_target(checkout: Path) -> None:
    (checkout / "fail").touch()
    done = subprocess.run(
        ["make", ".venv/.run"], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Error 3" in done.stderr
    assert not (checkout / ".venv" / ".run").exists()
