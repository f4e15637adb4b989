"""`constellation train` with a recipe of pairs: a kernel, and how it joins a constellation."""

import json
from pathlib import Path

from tests.cli.conftest import Run
from tests.support.pairs import write_task

RECIPE = """
name = "mirror"
mode = "synchronized"
[pairs]
file = "task/pairs.jsonl"
vocabulary = "task/symbols.json"
questions_max = 8
[kernel]
context = 16
width = 16
num_layers = 1
num_heads = 2
mlp_width = 16
[seed_stage]
steps = 4
batch_size = 4
learning_rate = 1e-2
"""


def test_a_recipe_of_pairs_makes_a_kernel_and_says_how_it_joins(run: Run, tmp_path: Path) -> None:
    write_task(tmp_path / "task", num_words=200)
    (tmp_path / "mirror.toml").write_text(RECIPE, encoding="utf-8")
    made = run("train", "mirror.toml", "--out", "out", "--json")
    assert made.exit_code == 0, made.output
    report = json.loads(made.stdout)["report"]
    assert report["vocabulary"] == "120 symbols"
    assert report["steps"] == 4
    assert (tmp_path / "out" / "kernels" / "mirror" / "symbols.json").is_file()
    again = run("train", "mirror.toml", "--out", "out")
    words = " ".join(again.stdout.split())
    assert "of 8 held-out prompts are answered exactly after 4 steps" in words
    assert "constellation add mirror" in words
    assert "--text" in words


def test_a_recipe_of_pairs_without_its_file_is_refused_by_name(run: Run, tmp_path: Path) -> None:
    write_task(tmp_path / "task", num_words=200)
    (tmp_path / "mirror.toml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "task" / "pairs.jsonl").unlink()
    made = run("train", "mirror.toml", "--out", "out")
    assert made.exit_code == 1
    assert "pairs.jsonl" in made.output
