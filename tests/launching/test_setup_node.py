"""A machine of a Ray cluster is set up by one script: installed once, private, with its variables.

The script runs here with a home folder of its own. A stand-in for Python records what would be
installed: packages are downloaded by `tools/clean_root.py` only.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cluster.bootstrap import _environment
from constellation.settings import Settings, child_environment

ROOT = Path(__file__).parents[2]
SCRIPT = Path("cluster/ray/setup_node.sh")
TOOLS = (
    "bash", "cat", "chmod", "dirname", "find", "grep", "mkdir", "sha256sum", "sort", "xargs",
)  # fmt: skip
PYTHON = """#!/bin/bash
case "$*" in
  --version) echo "Python {version}";;
  "-c "*) [ "{is_new}" = yes ];;
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python";;
  *) echo "$*" >> {log};;
esac
"""


class Machine:
    """A home folder, a copy of the code, and a folder with the only programs there are."""

    def __init__(self, folder: Path) -> None:
        self.home, self.code, self.programs = folder / "home", folder / "code", folder / "bin"
        self.log = folder / "pip.log"
        for each in (self.home, self.code / SCRIPT.parent, self.programs):
            each.mkdir(parents=True)
        shutil.copy(ROOT / SCRIPT, self.code / SCRIPT)
        (self.code / "constraints.txt").write_text("numpy==2.0\n")
        for tool in TOOLS:
            (self.programs / tool).symlink_to(shutil.which(tool) or tool)

    def has_python(self, name: str = "python3.12", *, is_new: bool = True) -> None:
        text = PYTHON.format(
            version="3.12.1" if is_new else "3.9.2", is_new="yes" if is_new else "", log=self.log
        )
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)
        (self.programs / "cp").symlink_to(shutil.which("cp") or "cp")

    def set_up(self) -> subprocess.CompletedProcess[str]:
        return self.shell(f"bash {self.code / SCRIPT}")

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        environment = child_environment({"HOME": str(self.home), "PATH": str(self.programs)})
        return subprocess.run(
            [shutil.which("bash") or "bash", "-c", command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def installed(self) -> list[str]:
        """Return the arguments of every installation."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_pinned_versions_are_installed_and_an_unchanged_machine_installs_nothing(
    machine: Machine,
) -> None:
    machine.has_python()
    assert machine.set_up().returncode == 0
    (first,) = machine.installed
    assert f"-c {machine.code}/constraints.txt {machine.code}" in first
    assert machine.set_up().returncode == 0
    assert len(machine.installed) == 1
    (machine.code / "changed.py").write_text("changed = True\n")
    assert machine.set_up().returncode == 0
    assert len(machine.installed) == 2


def test_a_shell_finds_the_programs_and_variables_however_often_the_script_ran(
    machine: Machine,
) -> None:
    machine.has_python()
    for _ in range(2):
        assert machine.set_up().returncode == 0
    assert (machine.home / ".bashrc").read_text().count("constellation/environment") == 2
    assert len((machine.home / ".bashrc").read_text().splitlines()) == 1
    said = machine.shell(". ~/.bashrc; echo $RAY_AUTH_MODE $RAY_AUTH_TOKEN_PATH; echo $PATH")
    home = machine.home / ".constellation"
    assert said.stdout.splitlines() == [
        f"token {home}/secrets/ray_token",
        f"{home}/venv/bin:{machine.programs}",
    ]
    assert home.stat().st_mode & 0o777 == 0o700


def test_variables_of_memory_and_priority_are_those_of_a_private_ray() -> None:
    alone = _environment("t")
    script = (ROOT / SCRIPT).read_text()
    for name in (
        "RAY_AUTH_MODE",
        "RAY_USAGE_STATS_ENABLED",
        "RAY_worker_niceness",
        "MALLOC_ARENA_MAX",
        "LRU_CACHE_CAPACITY",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY",
    ):
        assert f"export {name}={alone[name]}\n" in script


def unknown_settings(names: set[str]) -> set[str]:
    """Return the variables for which there is no setting."""
    known = set()
    for name, field in Settings.model_fields.items():
        section = getattr(field.annotation, "model_fields", None)
        known |= {f"{name}__{key}" for key in section} if section else {name}
    return {each for each in names if each.removeprefix("CONSTELLATION_").lower() not in known}


def test_every_variable_for_our_own_commands_is_a_setting() -> None:
    manifest = (ROOT / "cluster/kubernetes/environment.yaml").read_text()
    names = set(re.findall(r"CONSTELLATION_\w+", (ROOT / SCRIPT).read_text() + manifest))
    assert len(names) >= 9
    assert unknown_settings(names) == set()
    assert unknown_settings({"CONSTELLATION_SECURITY__TOKEN"}) == {"CONSTELLATION_SECURITY__TOKEN"}


@pytest.mark.parametrize("has_certificate", [True, False])
def test_ray_is_encrypted_where_that_is_asked_for_and_there_is_a_certificate(
    machine: Machine, has_certificate: bool
) -> None:
    machine.has_python()
    secrets = machine.home / ".constellation" / "secrets"
    if has_certificate:
        secrets.mkdir(parents=True)
        (secrets / "node.crt").touch()
    for option, expected in (("", ""), ("--ray-tls", "1" if has_certificate else "")):
        assert machine.shell(f"bash {machine.code / SCRIPT} {option}").returncode == 0
        said = machine.shell(". ~/.bashrc; echo $RAY_USE_TLS; cat $RAY_TLS_SERVER_CERT")
        assert said.stdout.strip() == expected


@pytest.mark.parametrize("has_old", [True, False])
def test_a_machine_without_a_new_python_says_what_to_install(
    machine: Machine, has_old: bool
) -> None:
    if has_old:
        machine.has_python("python3", is_new=False)
    ended = machine.set_up()
    assert ended.returncode == 1
    assert "install python3.12" in ended.stderr
    assert machine.installed == []


def test_the_script_leaves_no_file_that_others_may_read(machine: Machine) -> None:
    machine.has_python()
    assert machine.set_up().returncode == 0
    below = [path for path in (machine.home / ".constellation").rglob("*") if path.is_file()]
    assert below
    readable = [path for path in below if os.stat(path).st_mode & 0o077 and path.name != "python"]
    assert readable == []
