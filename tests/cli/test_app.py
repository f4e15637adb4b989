"""The app as a whole: start-up, help, and how errors look."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from cluster.cli.coordize import CriterionName
from cluster.cli.inspect import PresetName
from cluster.cli.main import ErrorsAsLines, app
from cluster.cli.options import ModeName, RuleName
from constellation.coordizer.training import CRITERIA
from constellation.errors import ConfigError, ConstellationError, DeploymentError, UnknownKernel
from constellation.kernel.network.config import PRESETS
from constellation.records import Mode, Rule
from tests.cli.conftest import Run

COMMANDS = [
    ("up",),
    ("down",),
    ("status",),
    ("logs",),
    ("certificates",),
    ("watch",),
    ("ask",),
    ("chat",),
    ("route",),
    ("train",),
    ("report",),
    ("reload",),
    ("rebalance",),
    ("add",),
    ("remove",),
    ("spawn",),
    ("sources",),
    ("unlearn",),
    ("validate",),
    ("merge",),
    ("measure-beta",),
    ("basin", "extract"),
    ("basin", "match"),
    ("data", "generate"),
    ("data", "prepare"),
    ("data", "validate"),
    ("hlx", "encode"),
    ("hlx", "decode"),
    ("hlx", "convert"),
    ("hlx", "validate"),
    ("logic", "generate"),
    ("logic", "prove"),
    ("logic", "grade"),
    ("releases", "list"),
    ("releases", "show"),
    ("releases", "adopt"),
    ("releases", "diff"),
    ("releases", "rollback"),
    ("releases", "prune"),
    ("releases", "replay"),
    ("plan",),
    ("doctor",),
    ("coordize", "train"),
    ("coordize", "encode"),
    ("coordize", "inspect"),
]
HEAVY = {"torch", "ray", "grpc", "numpy", "pydantic", "scipy", "matplotlib", "google.protobuf"}


def test_help_needs_none_of_the_heavy_packages() -> None:
    """Start-up stays light: what a command needs is imported when it runs."""
    script = (
        "import sys\n"
        "from cluster.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert "status" in done.stdout
    assert not HEAVY & set(done.stderr.split())


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(run: Run, command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert f"Example: constellation {' '.join(command)}" in " ".join(result.stdout.split())
    assert "<bool>" not in result.stdout  # a flag takes no value


def test_no_command_is_left_out_of_these_tests() -> None:
    group = typer.main.get_command(app)
    found = {
        (name, inner) if hasattr(command, "commands") else (name,)
        for name, command in group.commands.items()
        for inner in getattr(command, "commands", [""])
    }
    assert found == set(COMMANDS)


def test_the_version_is_the_installed_one(run: Run) -> None:
    assert run("--version").stdout.startswith("constellation 0.")


def test_the_flags_offer_what_the_library_knows() -> None:
    assert {str(name) for name in RuleName} == {str(rule) for rule in Rule}
    assert {str(name) for name in ModeName} == {str(mode) for mode in Mode}
    assert {str(name) for name in CriterionName} == set(CRITERIA)
    assert {str(name) for name in PresetName} == set(PRESETS)


def _app_that_raises(error: BaseException) -> typer.Typer:
    failing = typer.Typer(cls=ErrorsAsLines, pretty_exceptions_enable=False)

    @failing.command()
    def fail() -> None:
        raise error

    failing.callback()(lambda: None)
    return failing


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("port is 0"), 2),
        (DeploymentError("it does\nnot start"), 1),
        (UnknownKernel("x", ["a"]), 1),
    ],
)
def test_an_error_is_one_line_on_standard_error(error: ConstellationError, code: int) -> None:
    result = CliRunner().invoke(_app_that_raises(error), ["fail"])
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr == f"error: {' '.join(str(error).split())}\n"


def test_ctrl_c_ends_a_command_quietly_with_130() -> None:
    result = CliRunner().invoke(_app_that_raises(KeyboardInterrupt()), ["fail"])
    assert result.exit_code == 130
    assert result.stdout + result.stderr == "\n"


def test_a_mistake_of_ours_is_not_hidden() -> None:
    result = CliRunner().invoke(_app_that_raises(ZeroDivisionError("bug")), ["fail"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_flag_that_does_not_exist_is_a_usage_error(run: Run) -> None:
    result = run("ask", "x", "--experts", "2")
    assert result.exit_code == 2
    assert "--experts" in result.stderr


def test_a_flag_or_command_that_is_misspelt_is_answered_with_the_one_that_may_be_meant(
    run: Run,
) -> None:
    assert "--json" in run("status", "--jsno").stderr
    assert "status" in run("sttatus").stderr


def test_a_damaged_configuration_file_ends_with_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "constellation.toml").write_text("[serve]\nprot = 1\n")
    result = run("status")
    assert result.exit_code == 2
    assert "serve.prot" in result.stderr
