"""How the launcher is started; what it says when it dies early reaches whoever typed `up`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster import launcher_process
from constellation.errors import DeploymentError
from constellation.settings import Settings

RUN = subprocess.run


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return settings that pass all checks before a launcher is started."""
    monkeypatch.setattr(launcher_process, "kernels_of", lambda artifacts: ("a",))
    return Settings(run_dir=tmp_path / "run", artifacts=tmp_path)


def start_instead(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have another program started in place of the launcher."""

    def run(command: list[str], **options: Any) -> Any:
        return RUN([sys.executable, "-c", program, command[-1]], **options)

    monkeypatch.setattr(launcher_process.subprocess, "run", run)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import no_such_module", "did not start: ModuleNotFoundError: No module .*no_such_module"),
        ("", "the launcher did not start "),
        (
            "import os, sys\nos.write(int(sys.argv[1]), b'{\"pid\": 999999999}\\n')\n"
            "sys.exit('bus error')",
            "did not start: bus error",
        ),
        (
            "import os, sys\nos.write(int(sys.argv[1]), b'{\"pid\": 999999999}\\n')\n"
            "sys.stderr.write('out of memory')",
            "before the constellation was up: out of memory",
        ),
        (
            "import os, sys\nos.write(int(sys.argv[1]),"
            ' b\'{"pid": 999999999}\\n{"error": "kernel-a did not start: why"}\\n\')',
            "^kernel-a did not start: why ",
        ),
    ],
)
def test_its_last_words_are_the_error(
    program: str, words: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = settings.run_dir / "logs" / "launcher.log"
    log.parent.mkdir(parents=True)
    log.write_text("of an earlier one\n")
    start_instead(program, monkeypatch)
    with pytest.raises(DeploymentError, match=words) as caught:
        launcher_process.start(settings)
    assert "earlier" not in str(caught.value)


def test_a_launcher_that_hangs_before_it_forks_is_an_error_of_ours(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher_process, "STOP_S", 0.2)
    start_instead("import threading\nthreading.Event().wait(60)", monkeypatch)
    with pytest.raises(DeploymentError, match="did not start"):
        launcher_process.start(settings)


def test_a_launcher_that_ends_at_once_is_an_error_with_its_last_words(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        "import sys\nif 'cluster.launcher' in sys.orig_argv:\n    raise SystemExit('I am ill')\n"
    )
    (tmp_path / "sitecustomize.py").write_text(words, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DeploymentError, match=r"the launcher did not start: .*I am ill \(log: "):
        launcher_process.start(settings)
    assert len(os.listdir("/proc/self/fd")) == before


def test_compiled_code_lies_in_the_run_folder(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among the temporary files its folder has a name that another user can take first."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    assert "TORCHINDUCTOR_CACHE_DIR" not in launcher_process.environment_of(settings)
    kernel = settings.kernel.model_copy(update={"compile": True})
    compiling = settings.model_copy(update={"kernel": kernel})
    folder = Path(launcher_process.environment_of(compiling)["TORCHINDUCTOR_CACHE_DIR"])
    assert folder.is_relative_to(settings.run_dir.resolve())
