"""The commands of docs/machines.md are commands that exist, with options that exist.

`benchmarks/how_to.py` and `tests/machines/test_constellation_by_ray_up.py` run the commands on
hosts in namespaces; here every command line is parsed as the program itself would parse the line,
and nothing is run.
"""

import json
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import typer.main

from cluster.cli.main import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "machines.md").read_text()
PARSE_RAY = textwrap.dedent("""
    import json, sys
    import click
    from ray.scripts.scripts import cli
    for command, *arguments in json.load(sys.stdin):
        cli.commands[command].make_context(command, arguments)
""")


def lines_of(page: str) -> list[list[str]]:
    """Return the words of every command in the shell blocks of a page."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    whole = "".join(blocks).replace("\\\n", " ")
    return [words for line in whole.splitlines() if (words := shlex.split(line, comments=True))]


COMMANDS = lines_of(PAGE)
INSIDE = [shlex.split(words[3]) for words in COMMANDS if words[:2] == ["ray", "exec"]]
"""Commands that `ray exec` runs on the head."""


def parse(words: list[str]) -> None:
    """Parse the arguments of a `constellation` command; raise where the program would refuse."""
    command: Any = typer.main.get_command(app)
    while commands := getattr(command, "commands", None):
        name, *words = words
        command = commands[name]
    command.make_context(command.name, words)


def test_every_command_of_ours_is_one_that_exists_with_options_that_exist() -> None:
    ours = [words[1:] for words in [*COMMANDS, *INSIDE] if words[0] == "constellation"]
    assert len(ours) >= 6
    for words in ours:
        parse(words)


def test_a_command_or_an_option_that_is_not_there_is_found() -> None:
    with pytest.raises(KeyError, match="certificate"):
        parse(["certificate", "secrets"])
    with pytest.raises(Exception, match="No such option"):  # of typer's own click
        parse(["certificates", "secrets", "--hosts", "a"])


@pytest.mark.slow
def test_every_command_of_ray_is_one_that_exists_with_options_that_exist() -> None:
    theirs = [words[1:] for words in COMMANDS if words[0] == "ray"]
    assert {words[0] for words in theirs} >= {"up", "exec", "attach", "down", "rsync-up"}
    ended = subprocess.run(
        [sys.executable, "-c", PARSE_RAY],
        input=json.dumps(theirs),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-1000:]


def test_every_file_of_this_repository_that_a_command_names_is_there() -> None:
    words = {word for words in COMMANDS for word in words}
    named = {word for word in words if word.startswith("cluster/")}
    on_machines = set(re.findall(r"~/\.constellation/code/(\S+)", PAGE))
    assert len(named | on_machines) >= 5
    assert [path for path in named | on_machines if not (ROOT / path.strip("'`")).exists()] == []


def test_every_port_that_a_cluster_file_opens_is_in_the_table_of_ports() -> None:
    (_, _, table) = PAGE.partition("## Ports")
    for port in ("50051", "50052", "6379 to 6386", "10002 to 19999", "8265", "50251"):
        assert port in table.partition("\n## ")[0]
