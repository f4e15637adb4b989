"""Graders: the oracle gets everything right, and every kind of mutation is caught every time."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from constellation.curricula.logic.answer_grading import (
    COLUMNS,
    Grade,
    Output,
    Question,
    grade_output,
    grade_report,
)
from constellation.curricula.logic.family_catalog import FAMILIES
from constellation.curricula.logic.formula_tree import ANSWERS
from constellation.curricula.logic.grading_files import read_outputs, read_questions
from constellation.curricula.logic.logic_corpus import CorpusPlan, write_corpus
from constellation.curricula.logic.puzzle_generator import generate_items
from constellation.curricula.logic.puzzle_pairs import Form, Rendering, make_pair
from constellation.errors import ConfigError, CorpusError

REASONED = Rendering(form=Form.SCAFFOLDED, with_reason=True)


@cache
def questions_of(rendering: Rendering) -> list[tuple[Question, str]]:
    """Return questions of every family, each with the right text."""
    pairs = [
        make_pair(item, rendering)
        for family in FAMILIES.values()
        for item in generate_items(family, 12, seed=2)
    ]
    return [
        (Question(prompt=pair.prompt, family=pair.family, answer=pair.answer[0]), pair.answer)
        for pair in pairs
    ]


def others(answer: str) -> tuple[str, str]:
    """Return the two wrong answers."""
    first, second = (each for each in ANSWERS if each != answer)
    return first, second


Mutation = Callable[[str], Output]


def written(text: str, *, stopped: bool = True) -> Output:
    return Output(text=text, stopped=stopped)


# Each mutation, and the columns that may still count its output as right.
MUTATIONS: dict[str, tuple[Mutation, set[str]]] = {
    "nothing written": (lambda text: written(text[1:]), set()),
    "the one wrong symbol": (lambda text: written(others(text[0])[0] + text[1:]), set()),
    "the other wrong symbol": (lambda text: written(others(text[0])[1] + text[1:]), set()),
    "a half circle that is no answer": (lambda text: written("◐" + text[1:]), set()),
    "an empty circle that is no answer": (lambda text: written("○" + text[1:]), set()),
    "a look-alike": (
        lambda text: written({"●": "⚫", "◑": "◒", "⊥": "┴"}[text[0]] + text[1:]),
        set(),
    ),
    "a word instead": (
        lambda text: written({"●": "true", "◑": "unknown", "⊥": "false"}[text[0]] + text[1:]),
        set(),
    ),
    "no stop": (lambda text: written(text, stopped=False), {"lenient", "first_symbol"}),
    "a blank before": (lambda text: written(" " + text), {"lenient", "first_symbol"}),
    "a line break before": (lambda text: written("\n" + text), {"lenient", "first_symbol"}),
    "a blank after": (lambda text: written(text + " "), {"lenient", "first_symbol"}),
    "a line break after": (lambda text: written(text + "\n"), {"lenient", "first_symbol"}),
    "a full stop after": (lambda text: written(text + "."), {"lenient", "first_symbol"}),
    "the symbol twice": (
        lambda text: written(text[0] + text),
        {"lenient", "first_symbol"},
    ),
    "a second answer after": (
        lambda text: written(text + others(text[0])[0]),
        {"lenient", "first_symbol"},
    ),
    "a wrong answer before": (lambda text: written(others(text[0])[0] + text), {"lenient"}),
    "a word before": (lambda text: written("Answer: " + text), {"lenient"}),
    "a variation selector": (
        lambda text: written(text[0] + "\ufe0f" + text[1:]),
        {"lenient", "first_symbol"},
    ),
    "the next puzzle after": (
        lambda text: written(text + "\nP→Q,P?Q"),
        {"lenient", "first_symbol"},
    ),
    "an invisible blank before": (lambda text: written("\u200b" + text), {"lenient"}),
    "quotation marks": (lambda text: written(f'"{text}"'), {"lenient"}),
}


@pytest.mark.parametrize("rendering", [Rendering(), REASONED], ids=["symbol", "with reason"])
def test_the_right_texts_are_graded_right_in_every_column(rendering: Rendering) -> None:
    asked = questions_of(rendering)
    reasoned = rendering is REASONED
    report = grade_report(
        [question for question, _ in asked],
        [written(text) for _, text in asked],
        reason_allowed=reasoned,
    )
    assert set(report["families"]) == set(FAMILIES)
    for column in COLUMNS:
        assert report["macro"][column] == report["least"][column] == 1.0
        assert report["all"][column]["right"] == 1.0


@pytest.mark.parametrize("rendering", [Rendering(), REASONED], ids=["symbol", "with reason"])
@pytest.mark.parametrize("name", MUTATIONS)
def test_every_mutation_is_caught_in_every_output(name: str, rendering: Rendering) -> None:
    mutate, lenient_columns = MUTATIONS[name]
    for question, text in questions_of(rendering):
        grade = grade_output(question.answer, mutate(text), reason_allowed=rendering is REASONED)
        right = {column for column in COLUMNS if getattr(grade, column)}
        assert right == lenient_columns, text


def test_at_least_ten_kinds_of_mutation_are_tried() -> None:
    assert len(MUTATIONS) >= 10


@pytest.mark.parametrize(
    "text", ["● by Modus", "● by  modus", "● by ", "● by ⊥", "● since modus", "● by modus\nx"]
)
def test_only_a_line_that_names_a_rule_is_a_reason(text: str) -> None:
    assert not grade_output("●", written(text), reason_allowed=True).exact_stop
    assert grade_output("●", written("● by modus ponens"), reason_allowed=True).exact_stop
    assert not grade_output("●", written("● by modus ponens")).exact_stop


def test_the_lenient_column_reads_the_long_text() -> None:
    output = Output(text="It is", stopped=False, long_text="It is certain: ●, I think")
    assert grade_output("●", output) == Grade(lenient=True, first_symbol=False, exact_stop=False)


def ask(family: str, answers: str) -> list[Question]:
    return [
        Question(prompt=f"{family}{place}", family=family, answer=answer)
        for place, answer in enumerate(answers)
    ]


def test_the_report_has_intervals_macro_mean_least_share_and_the_majority_baseline() -> None:
    questions = ask("a", "●●●⊥") + ask("b", "●⊥")
    outputs = [written("●")] * 6
    report = grade_report(questions, outputs)
    assert report["families"]["a"]["exact_stop"]["right"] == 0.75
    low, high = report["families"]["a"]["exact_stop"]["interval"]
    assert (low, high) == pytest.approx((0.3006, 0.9544), abs=1e-3)
    assert report["families"]["a"]["majority"] == 0.75
    assert report["macro"]["exact_stop"] == pytest.approx(0.625)
    assert report["least"]["exact_stop"] == 0.5
    assert report["all"]["num_items"] == 6


def test_the_majority_is_that_of_the_training_set() -> None:
    report = grade_report(ask("a", "●●⊥"), [written("")] * 3, learned=ask("a", "⊥⊥●"))
    assert report["families"]["a"]["majority"] == pytest.approx(1 / 3)


def test_nothing_to_grade_is_refused() -> None:
    with pytest.raises(ConfigError, match="no questions"):
        grade_report([], [])


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("items")
    write_corpus(folder, CorpusPlan(count=30, families=("chain", "chess_square")))
    return folder / "held_out.jsonl"


def write(path: Path, entries: list[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    return path


def test_outputs_are_matched_with_questions_by_prompt(items: Path, tmp_path: Path) -> None:
    questions = read_questions(items)
    entries = [{"prompt": q.prompt, "output": q.answer, "stopped": True} for q in questions]
    outputs = read_outputs(write(tmp_path / "out.jsonl", entries[::-1]), questions)
    assert [output.text for output in outputs] == [question.answer for question in questions]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: entries[1:], "1 of"),
        (lambda entries: [*entries, entries[0]], "occurs twice"),
        (lambda entries: [{**entries[0], "prompt": "?"}], "is not among"),
        (lambda entries: [{**entries[0], "stopped": 1}], '"stopped" is 1'),
        (lambda entries: [{**entries[0], "output": None}], '"output" must be'),
        (lambda entries: [[]], "no JSON object"),
    ],
)
def test_a_file_of_outputs_with_a_mistake_is_refused(
    items: Path, tmp_path: Path, change: Callable[[list[Any]], list[Any]], message: str
) -> None:
    questions = read_questions(items)
    entries = [{"prompt": q.prompt, "output": q.answer, "stopped": True} for q in questions]
    with pytest.raises(CorpusError, match=message):
        read_outputs(write(tmp_path / "out.jsonl", change(entries)), questions)


def test_an_answer_that_the_prover_does_not_find_is_refused(tmp_path: Path) -> None:
    entry = {"prompt": "P?P", "answer": "⊥", "puzzle": "P?P", "family": "x"}
    with pytest.raises(CorpusError, match="line 1: the answer is '⊥', and the prover finds '●'"):
        read_questions(write(tmp_path / "items.jsonl", [entry]))
    with pytest.raises(CorpusError, match="line 1: at character 1 of the puzzle"):
        read_questions(write(tmp_path / "items.jsonl", [{**entry, "puzzle": "P"}]))
    with pytest.raises(CorpusError, match="no question"):
        read_questions(write(tmp_path / "items.jsonl", []))
