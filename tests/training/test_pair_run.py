"""A kernel of 120 symbols learns pairs to exact answers; stopped runs go on to the bit."""

from pathlib import Path

import pytest
import torch

from constellation.errors import (
    ConfigError,
    CorpusError,
    TrainingError,
)
from constellation.kernel.files.own_vocabulary import check_own_vocabulary
from constellation.kernel.files.symbol_kernel import load_symbol_kernel
from tests.support.pairs import LETTERS, question, task_recipe, write_task
from tests.support.symbols import SYMBOLS
from training.exact_answers import exact_answers
from training.pair_files import read_pairs
from training.pair_run import train_pairs
from training.pipeline import train
from training.recipe import Recipe


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_task(tmp_path_factory.mktemp("task"))


def short(task: Path, **changes: object) -> Recipe:
    pairs = {"file": task / "pairs.jsonl", "vocabulary": task / "symbols.json"}
    return task_recipe(task, steps=20, pairs={**pairs, **changes}, checkpoints={"every_steps": 5})


@pytest.mark.slow
def test_held_out_prompts_are_answered_exactly(task: Path, tmp_path: Path) -> None:
    result = train_pairs(task_recipe(task), tmp_path)
    report = result.report
    assert report["num_exact"] == report["num_questions"] == 256
    assert report["vocabulary"] == "120 symbols"
    loaded = load_symbol_kernel(tmp_path / "kernels" / "mirror")
    assert check_own_vocabulary(tmp_path / "kernels" / "mirror") == report["weights_sha256"]
    known = {pair.prompt for pair in read_pairs(task / "pairs.jsonl")}
    new = [
        word for word in (LETTERS[at : at + 3] for at in range(40)) if question(word) not in known
    ]
    asked = [(SYMBOLS.encode(question(word)), SYMBOLS.encode(word[::-1])) for word in new]
    assert exact_answers(loaded.network, asked, end_id=0).share > 0.9
    texts = sorted((tmp_path / "text").glob("*.txt"))
    assert 48 < len(texts) <= 64
    assert not (tmp_path / "checkpoints").exists()
    again = train_pairs(task_recipe(task), tmp_path)
    assert again.report == report
    assert again.seconds < result.seconds / 3


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_bits(task: Path, tmp_path: Path) -> None:
    whole = train_pairs(short(task), tmp_path / "whole").report
    asked = iter(range(100))
    with pytest.raises(TrainingError, match="stopped"):
        train_pairs(short(task), tmp_path / "parts", should_stop=lambda: next(asked) == 7)
    assert not (tmp_path / "parts" / "kernels").exists()
    assert train_pairs(short(task), tmp_path / "parts").report == whole
    assert train_pairs(short(task, loss="whole"), tmp_path / "other").report != whole


def test_too_few_exact_answers_leave_no_kernel(task: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"held-out prompts exactly.*below 1\.0"):
        train_pairs(short(task, exact_min=1.0), tmp_path)
    assert not (tmp_path / "kernels").exists()


def test_a_pair_with_an_unknown_symbol_is_named(task: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    lines = (task / "pairs.jsonl").read_text("utf-8").split("\n")[:50]
    path.write_text("\n".join(lines) + '\n{"prompt": "a日", "answer": "b"}\n', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"U\+65E5.*at character 1"):
        train_pairs(short(task, file=path), tmp_path / "out")


def test_pairs_are_for_one_kernel_and_no_constellation(task: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="synchronized"):
        task_recipe(
            task,
            mode="branch-train",
            branch_stage={"steps": 1, "batch_size": 1, "learning_rate": 1},
        )
    with pytest.raises(ConfigError, match=r"\[pairs\]"):
        train(short(task), tmp_path)
