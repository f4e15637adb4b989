"""The commands as a user types them, against a constellation on a real Ray."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import state_file
from cluster.open_files import open_files_limit
from constellation.settings import child_environment
from tests.support.artifacts import PROMPTS

pytestmark = pytest.mark.ray

TIMEOUT_S = 150


class Terminal:
    """Runs commands in one folder with one configuration."""

    def __init__(self, folder: Path, artifacts: Path) -> None:
        self._folder = folder
        (folder / "constellation.toml").write_text(
            f'artifacts = "{artifacts}"\n[serve]\nport = 0\n'
        )

    def type(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `constellation` with these arguments to its end."""
        return subprocess.run(
            [sys.executable, "-m", "cluster.cli.main", *arguments],
            cwd=self._folder,
            env=child_environment(
                {"HOME": str(self._folder), "PYTHONPATH": str(Path(__file__).parents[2])}
            ),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )


@pytest.fixture
def terminal(tmp_path: Path, artifacts: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, artifacts)
    yield terminal
    if state_file.running(tmp_path / "runs" / "local") is not None:  # the test failed half-way
        terminal.type("down")


def test_a_session_from_up_to_down(terminal: Terminal, tmp_path: Path) -> None:
    """Start, look, ask, route, check, stop; after that nothing answers."""
    started = terminal.type("up")
    assert started.returncode == 0, started.stderr
    assert "3 kernels answer at 127.0.0.1:" in started.stdout

    seen = json.loads(terminal.type("status", "--json").stdout)
    assert all(kernel["up"] for kernel in seen["kernels"])
    assert seen["memory_bytes"] > seen["num_unexpected_errors"] == 0

    asked = terminal.type("ask", PROMPTS["numbers"], "--tokens-max", "4", "--seed", "1")
    assert asked.returncode == 0, asked.stderr
    shown = terminal.type("status").stdout
    assert shown.startswith("serving · release 1 since ")
    assert max(map(len, shown.splitlines())) <= 80
    assert seen["release"]["since"] < seen["nodes"][0]["memory_bytes"]
    assert {each["node"] for each in seen["kernels"]} == {seen["nodes"][0]["id"]}
    assert seen["nodes"][0]["processes"] == 5, "three kernels, a router and the registry"
    assert [each["number"] for each in seen["releases"]] == [1]
    assert sum(each["requests"] for each in seen["traffic"]["seconds"]) == 0
    others = terminal.type("route", PROMPTS["mail"], "--without", "mail", "--json")
    assert json.loads(others.stdout)["kernel"] != "mail"
    assert asked.stdout.strip()
    assert "→ numbers" in asked.stderr
    routed = json.loads(terminal.type("route", PROMPTS["mail"], "--explain", "--json").stdout)
    assert routed["kernel"] == "mail"
    assert routed["influences"]

    assert terminal.type("doctor").returncode == 0

    # Every connection is an open file of the router, which has as many as the system allows.
    limits = Path(f"/proc/{seen['router_pid']}/limits").read_text()
    assert int(limits.partition("Max open files")[2].split()[0]) == open_files_limit()

    stopped = terminal.type("down")
    assert stopped.returncode == 0, stopped.stderr
    log = tmp_path / "runs" / "local" / "logs" / "launcher.log"
    assert log.read_text() == ""  # an orderly end leaves no trace of a crash
    after = terminal.type("status")
    assert after.returncode == 1
    assert "constellation up" in after.stderr
