"""`plan --train`: what it prints, and its exit code."""

import json

import pytest

from tests.cli.conftest import Run

SMALL = ("--set", "kernel.width=32", "--set", "kernel.context=32", "--set", "kernel.mlp_width=64")


def test_a_recipe_that_fits(run: Run) -> None:
    result = run("plan", "--train", "specialists", "--memory", 8, *SMALL, "--json")
    assert result.exit_code == 0, result.stderr
    made = json.loads(result.stdout)
    assert [kernel["kernel"] for kernel in made["kernels"]] == [
        "seed",
        "heart",
        "percept",
        "strategy",
        "vocab",
    ]
    assert made["fits"]
    assert made["config"]["width"] == 32
    assert made["speed"]["flops_per_second"] > 0
    assert made["seconds"] > 0


def test_a_recipe_that_does_not_fit(run: Run) -> None:
    result = run("plan", "--train", "qig-recursive-100m", "--memory", 1, "--no-measure")
    assert result.exit_code == 1
    assert "TOO LARGE" in result.stdout
    assert "give more memory" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--train", "no-such-recipe"), "no recipe"),
        (("--set", "kernel.width=32"), "give both"),
        (("--train", "specialists", "--set", "kernel.wide=2"), "kernel.wide"),
    ],
)
def test_a_wrong_flag_is_one_line(run: Run, arguments: tuple[str, ...], said: str) -> None:
    result = run("plan", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
