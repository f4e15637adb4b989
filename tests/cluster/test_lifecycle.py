"""What a launcher says that dies before anything is up reaches whoever typed `up`."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster import lifecycle
from constellation.errors import DeploymentError
from constellation.settings import Settings

RUN = subprocess.run


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return settings that pass all checks before a launcher is started."""
    monkeypatch.setattr(lifecycle, "kernels_of", lambda artifacts: ("a",))
    return Settings(run_dir=tmp_path / "run", artifacts=tmp_path)


def start_instead(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have another program started in place of the launcher."""

    def run(command: list[str], **options: Any) -> Any:
        return RUN([sys.executable, "-c", program, command[-1]], **options)

    monkeypatch.setattr(lifecycle.subprocess, "run", run)


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
        lifecycle.start(settings)
    assert "earlier" not in str(caught.value)


def test_a_launcher_that_hangs_before_it_forks_is_an_error_of_ours(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "STOP_S", 0.2)
    start_instead("import threading\nthreading.Event().wait(60)", monkeypatch)
    with pytest.raises(DeploymentError, match="did not start"):
        lifecycle.start(settings)
