"""How the launcher is started, and what is said when it ends before anything else could."""

import os
from pathlib import Path

import pytest

from cluster import lifecycle
from constellation.errors import DeploymentError
from constellation.settings import Settings
from tests.support.artifacts import build_artifacts


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings with which a constellation would start."""
    artifacts = build_artifacts(tmp_path / "artifacts", steps=1)
    return Settings(artifacts=artifacts, run_dir=tmp_path / "run", serve={"port": 0})


def test_a_launcher_that_ends_at_once_is_an_error_with_its_last_words(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        "import sys\nif 'cluster.launcher' in sys.orig_argv:\n    raise SystemExit('I am ill')\n"
    )
    (tmp_path / "sitecustomize.py").write_text(words, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DeploymentError, match=r"the launcher ended before .*: I am ill \(log: "):
        lifecycle.start(settings)
    assert len(os.listdir("/proc/self/fd")) == before


def test_compiled_code_lies_in_the_run_folder(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among the temporary files its folder has a name that another user can take first."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    assert "TORCHINDUCTOR_CACHE_DIR" not in lifecycle.environment_of(settings)
    kernel = settings.kernel.model_copy(update={"compile": True})
    compiling = settings.model_copy(update={"kernel": kernel})
    folder = Path(lifecycle.environment_of(compiling)["TORCHINDUCTOR_CACHE_DIR"])
    assert folder.is_relative_to(settings.run_dir.resolve())
