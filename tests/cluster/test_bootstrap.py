"""What is taken from the environment, and what is said when Ray does not start."""

import tomllib
from pathlib import Path

import pytest

from cluster import bootstrap
from cluster.ray_versions import TRIED, untried
from constellation.settings import absolute_module_paths, child_environment, clear_environment

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("found", ["2.60.0", "2.60.7", "2.60.0.post1"])
def test_a_ray_that_was_tried_is_taken_without_a_word(found: str) -> None:
    assert untried(found) is None


@pytest.mark.parametrize("found", ["2.59.1", "2.61.0", "3.0.0.dev0", "2.61rc1"])
def test_a_ray_that_was_not_tried_is_named_with_those_that_were(found: str) -> None:
    note = untried(found)
    assert note is not None
    assert found in note
    assert TRIED in note


def test_the_package_asks_for_the_ray_that_was_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    asked = [line.partition("]")[2] for line in lines if line.startswith("ray[")]
    assert asked == [TRIED, TRIED]


def test_variables_of_one_program_are_removed_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TEST_RAY_ONE", "TEST_RAY_TWO", "TEST_RAILWAY"):
        monkeypatch.setenv(name, "x")
    clear_environment("TEST_RAY_")
    assert {name for name in child_environment({}) if name.startswith("TEST_")} == {"TEST_RAILWAY"}


def test_module_paths_mean_the_same_in_every_folder_and_none_is_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ":/absolute::lib:")
    absolute_module_paths()
    assert child_environment({})["PYTHONPATH"] == f"/absolute:{tmp_path / 'lib'}"
    monkeypatch.delenv("PYTHONPATH")
    absolute_module_paths()
    assert "PYTHONPATH" not in child_environment({})


@pytest.mark.parametrize(
    ("said", "is_late"),
    [
        ("Timed out after 30 seconds while waiting for node to startup", True),
        ("The current node timed out during startup", True),
        ("AF_UNIX path length cannot exceed 107 bytes", False),
        ("'ascii' codec can't encode character", False),
        ("Failed to bind to 127.0.0.1:8265 because it's already occupied", False),
    ],
)
def test_waiting_is_advised_only_where_it_helps(said: str, is_late: bool) -> None:
    assert ("when the machine is less busy" in bootstrap._hint(Exception(said))) is is_late
