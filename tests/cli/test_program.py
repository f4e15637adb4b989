"""What all commands have in common: strange streams, signs of life, unexpected errors."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.cli import progress_lines
from cluster.cli.progress_lines import SILENCE_FIRST_S, SILENCE_S, Liveness
from cluster.cli.standard_streams import Activity
from constellation.settings import child_environment
from tests.cli.program_run import STREAMS
from tests.cli.test_serving_commands import write_own_state
from tests.support.artifacts import PROMPTS
from tests.wire.fakes import Served

HEAVY = ("plan", "doctor", "validate", "coordize")
"""Commands that take seconds, and therefore meet fewer kinds of streams here."""
FEW = ("full", "complaints closed")
KERNEL = next(iter(PROMPTS))


def run_cases(cases: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.program_run"],
        input=json.dumps(cases),
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=child_environment({"PYTHONPATH": root}),
        timeout=300,
        check=True,
    )
    ended: list[dict[str, Any]] = json.loads(done.stdout)
    return ended


def printing_commands(served: Served, own: Path) -> list[list[str]]:
    """Return commands that print and end well, as often as they are run."""
    there = ["--endpoint", served.endpoint]
    here = ["--artifacts", str(own), "--run-dir", "here"]
    chats = own.parent / "chats.jsonl"
    told = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    chats.write_text(json.dumps({"messages": told}) + "\n")
    coordizer = str(own / "coordizer")
    return [
        ["--help"],
        ["--version"],
        ["ask", "--help"],
        ["ask", "x", *there],
        ["ask", "x", "--json", *there],
        ["route", "x", "--explain", *there],
        ["status", *there],
        ["status", "--json", *there],
        ["reload", *there],
        ["spawn", "python", "python-2", *there],
        ["remove", KERNEL, *here],
        ["unlearn", KERNEL, "a.txt", *here],
        ["coordize", "encode", "a b", "--coordizer", coordizer],
        ["coordize", "inspect", coordizer],
        ["data", "validate", str(chats)],
        ["validate", "spark"],
        ["plan"],
        ["doctor", "--artifacts", str(own)],
        ["releases", "list", *here],
    ]


@pytest.mark.slow
def test_every_command_that_prints_ends_in_one_line_where_its_output_cannot_be_written(
    served: Served, artifacts: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(artifacts, own)
    write_own_state(tmp_path / "here", served.endpoint, artifacts=str(own))
    commands = printing_commands(served, own)
    cases = [
        {"kind": "streams", "arguments": command, "streams": streams}
        for command in commands
        for streams in (FEW if command[0] in HEAVY else STREAMS)
    ]
    for case, ended in zip(cases, run_cases(cases, tmp_path), strict=True):
        streams, told = case["streams"], f"{case} {ended}"
        heard = [line for line in ended["heard"].splitlines() if "error" in line.lower()]
        assert "Traceback" not in ended["heard"], told
        if streams == "full":
            assert ended["code"] == 1, told
            said = "error: standard output cannot be written: No space left on device"
            assert heard == [said], told
        else:
            assert ended["code"] == (141 if streams == "unread" else 0), told
            assert heard == [], told


SLOW = {
    "up": (["up"], "cluster.launcher_process:start"),
    "down": (["down"], "cluster.launcher_process:stop"),
    "train": (["train", "starter", "--json"], "cluster.training_run:train_recipe"),
    "add": (["add", "poems", "text", "--json"], "cluster.kernel_changes:make_kernel"),
    "validate": (["validate", "spark", "--json"], "training.validation.run:validate_preset"),
    "report": (["report", "run", "--json"], "training.report.report_files:write_report"),
    "plan --train": (["plan", "--train", "starter", "--json"], "training.cost:measure_speed"),
    "coordize train": (
        ["coordize", "train", "text", "out", "--json"],
        "constellation.curricula.corpus:read_corpus",
    ),
    "releases replay": (
        ["releases", "replay", "1", "--queries", "text/a", "--artifacts", "text", "--json"],
        "constellation.releases.replay:report",
    ),
    "measure-beta": (
        ["measure-beta", "kernel", "--text", "text", "--json"],
        "cluster.cli.kernel_folder:load",
    ),
}


@pytest.mark.slow
def test_every_slow_command_shows_in_a_pipe_that_it_lives(tmp_path: Path) -> None:
    """Two lines each, on standard error; what is printed as JSON stays what it is."""
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a").touch()
    cases = [
        {"kind": "slow", "arguments": arguments, "slow": slow} for arguments, slow in SLOW.values()
    ]
    for name, ended in zip(SLOW, run_cases(cases, tmp_path), strict=True):
        for line in ended["lines"]:
            assert line.startswith(f"constellation {name.split()[0]}"), (name, ended)
            assert line.endswith(" s)\n"), (name, ended)
        assert (ended["printed"], ended["code"]) == ("", 0), (name, ended)


# --- when a line is due ---------------------------------------------------------------------------


class FakeActivity(Activity):
    """Something was written when a test says so."""

    def __init__(self) -> None:
        self.last_s, self.is_mid_line = 0.0, False


def test_a_line_is_due_after_silence_and_says_what_is_done_and_for_how_long() -> None:
    activity, life = FakeActivity(), Liveness("constellation up", now_s=0.0)
    life.words = "starting Ray"
    assert life.line(activity, now_s=SILENCE_FIRST_S - 0.01) is None
    first = life.line(activity, now_s=SILENCE_FIRST_S)
    assert first == "constellation up: starting Ray (3 s)"
    assert life.line(activity, now_s=SILENCE_FIRST_S + SILENCE_S - 0.01) is None
    life.words = lambda: "kernels: python 4/10"
    second = life.line(activity, now_s=SILENCE_FIRST_S + SILENCE_S)
    assert second == "constellation up: kernels: python 4/10 (8 s)"


def test_who_writes_needs_no_other_sign_of_life() -> None:
    activity, life = FakeActivity(), Liveness("constellation ask", now_s=0.0)
    for now_s in range(1, 100):
        activity.last_s = float(now_s)
        assert life.line(activity, now_s=now_s + SILENCE_FIRST_S - 0.5) is None


def test_no_line_breaks_into_another_or_into_what_a_person_types() -> None:
    activity, life = FakeActivity(), Liveness("constellation chat", now_s=0.0)
    activity.is_mid_line = True
    assert life.line(activity, now_s=99.0) is None
    activity.is_mid_line, life.is_paused = False, True
    assert life.line(activity, now_s=99.0) is None
    life.is_paused = False
    assert life.line(activity, now_s=99.0) == "constellation chat (99 s)"


def test_the_words_of_a_step_are_said_while_it_lasts(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_lines.watched("a program", Activity()):
        assert progress_lines._current is not None
        progress_lines.doing("one")
        with progress_lines.step("two") as say:
            assert progress_lines._current.words == "two"
            say("three")
            assert progress_lines._current.words == "three"
        assert progress_lines._current.words == "one"
    with progress_lines.step("alone"):  # a command that runs in no program of ours
        pass
    assert capsys.readouterr().out == ""


# --- what nobody intended -------------------------------------------------------------------------


def test_an_unexpected_error_is_one_line_that_names_a_file_with_the_traceback(
    tmp_path: Path,
) -> None:
    script = "from cluster.cli.program import run_program; run_program('x', lambda: 1 / 0)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=child_environment({"TMPDIR": str(tmp_path)}),
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: unexpected ZeroDivisionError: division by zero; the traceback")
    (file,) = tmp_path.iterdir()
    assert line.endswith(f"is in {file}")
    assert "ZeroDivisionError" in file.read_text()


def test_ctrl_c_outside_of_a_command_ends_quietly_with_130() -> None:
    script = (
        "from cluster.cli.program import run_program\n"
        "def stop():\n    raise KeyboardInterrupt\n"
        "run_program('x', stop)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)  # noqa: PLW1510
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"\n")
