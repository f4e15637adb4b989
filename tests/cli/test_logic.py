"""`logic generate|prove|grade`: files, evidence, tables, and errors on one line."""

import json
from pathlib import Path

import pytest

from cluster.cli.logic import FormName, SurfaceName
from constellation.curricula.logic.puzzle_pairs import Form, Surface
from tests.cli.conftest import Run

GENERATE = ("logic", "generate", "task", "--count", 40, "--family", "chain", "--family", "negation")


def test_prove_prints_the_answer_and_a_model(run: Run) -> None:
    result = run("logic", "prove", "P→Q,P?Q")
    assert result.stdout.splitlines() == [
        "●",
        "the query is true in every model of the premises (models: 1 of 4 candidates)",
        "model: P: ●, Q: ●",
    ]


def test_prove_shows_two_counter_models_of_what_is_undetermined(run: Run) -> None:
    proof = json.loads(run("logic", "prove", "P→Q,Q?P", "--json").stdout)
    assert (proof["answer"], proof["num_candidates"], proof["num_models"]) == ("◑", 4, 2)
    assert [model["P"] for model in proof["models"]] == [True, False]


def test_prove_reads_the_line_form_from_standard_input(run: Run) -> None:
    assert run("logic", "prove", "-", typed="P → Q\nP: ●\n?Q\n").stdout.startswith("●\n")


@pytest.mark.parametrize(
    ("puzzle", "message"),
    [
        ("P→Q,P", "at character 5 of the puzzle: expected a connective, ',' or '?'"),
        (",".join("ABCDEFGHIJKLMNOPQ") + "?A", "17 atoms; the limit is 16"),
        ("∀x:P(x)?P", "no constant to range over"),
    ],
)
def test_a_puzzle_that_cannot_be_proved_is_one_line(run: Run, puzzle: str, message: str) -> None:
    result = run("logic", "prove", puzzle)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_generated_puzzles_are_graded_with_right_and_wrong_outputs(
    run: Run, tmp_path: Path
) -> None:
    manifest = json.loads(run(*GENERATE, "--json").stdout)
    assert manifest["num_pairs"]["train"] + manifest["num_pairs"]["held_out"] == 80
    lines = [
        json.loads(line) for line in (tmp_path / "task/held_out.jsonl").read_text().splitlines()
    ]
    outputs = [{"prompt": x["prompt"], "output": x["answer"], "stopped": True} for x in lines]
    outputs[0]["stopped"] = False
    (tmp_path / "out.jsonl").write_text("".join(json.dumps(x) + "\n" for x in outputs))
    command = ("logic", "grade", "task/held_out.jsonl", "out.jsonl", "--train", "task/train.jsonl")
    report = json.loads(run(*command, "--json").stdout)
    assert report["all"]["first_symbol"]["right"] == report["macro"]["lenient"] == 1
    assert report["all"]["exact_stop"]["right"] == (len(lines) - 1) / len(lines)
    table = run(*command).stdout
    assert "worst family" in table
    assert "majority" in table


def test_generate_prints_the_files(run: Run) -> None:
    result = run(*GENERATE, "--pure-share", "0.5", "--reason")
    assert result.exit_code == 0
    assert "task/train.jsonl" in result.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--family", "modus"), "no family 'modus'"),
        (("--held-out-share", "1"), "held_out_share is 1"),
        (("--pure-share", "0.5", "--form", "chat"), "leave out --form"),
    ],
)
def test_a_wrong_flag_of_generate_is_refused(
    run: Run, flags: tuple[str, ...], message: str
) -> None:
    result = run("logic", "generate", "task", *flags)
    assert result.exit_code == 2
    assert message in result.stderr


def test_grade_refuses_missing_files(run: Run) -> None:
    result = run("logic", "grade", "none.jsonl", "out.jsonl")
    assert result.exit_code == 1
    assert "none.jsonl: it cannot be read" in result.stderr


def test_the_flags_offer_the_forms_and_surfaces_of_the_library() -> None:
    assert {str(name) for name in FormName} == {str(form) for form in Form}
    assert {str(name) for name in SurfaceName} == {str(surface) for surface in Surface}
