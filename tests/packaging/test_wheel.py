"""The wheel works where there is no checkout: built, installed into an empty folder, used there."""

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGES = ("constellation", "actors", "training", "cluster")
LEFT_OUT = shutil.ignore_patterns("__pycache__")

# -I and -S: neither this folder, nor the environment, nor the `.pth` file of an editable install
# tells Python where the checkout is. Dependencies come from site-packages, which is put last.
PRELUDE = """
import sys
sys.path[:0] = [sys.argv[1]]
sys.path.append(sys.argv[2])
"""

IMPORT_ALL = """
import importlib, json, pkgutil
names = []
for package in ("constellation", "actors", "training", "cluster"):
    module = importlib.import_module(package)
    names += [package]
    names += [found.name for found in pkgutil.walk_packages(module.__path__, package + ".")]
files = {name: importlib.import_module(name).__file__ for name in names}
print(json.dumps(files))
"""

RUN_SCRIPT = """
from importlib.metadata import entry_points
(script,) = entry_points(group="console_scripts", name="constellation")
sys.argv = ["constellation", *sys.argv[3:]]
script.load()()
"""

LOAD_RECIPE = """
from training.recipe_file import load_recipe
print(load_recipe("starter").name)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy of the sources, so that nothing is left in the checkout."""
    source = tmp_path_factory.mktemp("source")
    for folder in (*PACKAGES, "tests", "benchmarks", "proto"):
        shutil.copytree(ROOT / folder, source / folder, ignore=LEFT_OUT)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("dist")
    command = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run([sys.executable, *command], check=True, capture_output=True, timeout=300)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel, and nothing else, into an empty folder."""
    folder = tmp_path_factory.mktemp("installed")
    command = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run(
        [sys.executable, *command, "--target", str(folder), str(wheel)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder


def run(installed: Path, program: str, *arguments: str) -> str:
    """Run a program that finds our packages in `installed` only, far from the checkout."""
    dependencies = sysconfig.get_path("purelib")
    command = [sys.executable, "-I", "-S", "-c", PRELUDE + program, str(installed), dependencies]
    done = subprocess.run(
        [*command, *arguments],
        cwd=installed.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_our_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert held == wanted
    assert {
        "constellation/py.typed",
        "constellation/wire/http/page/index.html",
        "constellation/wire/http/page/seats.json",
        "constellation/v1/constellation_pb2.py",
        "constellation/v1/constellation_pb2.pyi",
        "training/recipes/starter.toml",
        "cluster/cli/main.py",
    } <= held


def test_the_licence_travels_with_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (licence,) = (name for name in archive.namelist() if name.endswith("/LICENSE"))
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()


def test_every_module_is_imported_from_where_it_was_installed(installed: Path) -> None:
    files = json.loads(run(installed, IMPORT_ALL))
    assert len(files) > 100
    assert set(PACKAGES) <= set(files)
    elsewhere = {
        name: file for name, file in files.items() if not Path(file).is_relative_to(installed)
    }
    assert elsewhere == {}


def test_the_installed_command_explains_itself(installed: Path) -> None:
    text = run(installed, RUN_SCRIPT, "--help")
    assert all(command in text for command in ("up", "down", "status", "ask", "train"))
    assert run(installed, RUN_SCRIPT, "--version").startswith("constellation 0.")


def test_the_installed_recipe_can_be_read(installed: Path) -> None:
    assert run(installed, LOAD_RECIPE).strip() == "starter"
