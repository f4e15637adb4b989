"""Both surfaces of puzzles: round trips, strictness, positions, limits; no text crashes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.curricula.logic import formula_tree as tree
from constellation.curricula.logic.formula_printer import print_compact, print_formula, print_lines
from constellation.curricula.logic.puzzle_errors import (
    PuzzleError,
    PuzzleSyntaxError,
    PuzzleTooLarge,
)
from constellation.curricula.logic.puzzle_parser import (
    parse_compact,
    parse_formula,
    parse_lines,
    parse_puzzle,
)
from tests.curricula.logic.puzzle_strategies import formulas, puzzles


@pytest.mark.slow
@given(puzzles)
@settings(max_examples=300)
def test_what_is_printed_is_parsed_to_the_same_tree(puzzle: tree.Puzzle) -> None:
    assert parse_compact(print_compact(puzzle)) == puzzle
    assert parse_lines(print_lines(puzzle)) == puzzle
    assert parse_puzzle(print_compact(puzzle)) == parse_puzzle(print_lines(puzzle)) == puzzle


@given(formulas)
def test_a_formula_is_printed_and_parsed_to_the_same_tree(formula: tree.Formula) -> None:
    assert parse_formula(print_formula(formula)) == formula


@pytest.mark.parametrize(
    ("text", "explicit"),
    [
        ("?A→B→C", "?A→(B→C)"),
        ("?A∨B∧C", "?A∨(B∧C)"),
        ("?¬A∧B", "?(¬A)∧B"),
        ("?A∧B→C∨D", "?(A∧B)→(C∨D)"),
        ("?A↔B→C", "?A↔(B→C)"),
        ("?A∨B⊕C∧D", "?A∨(B⊕(C∧D))"),
        ("?A∧B∧C", "?(A∧B)∧C"),
        ("?∀x:P(x)→Q", "?∀x:(P(x)→Q)"),
    ],
)
def test_connectives_bind_in_their_order(text: str, explicit: str) -> None:
    assert parse_compact(text) == parse_compact(explicit)
    assert print_compact(parse_compact(explicit)) in (text, explicit)


def test_the_line_form_has_blanks_and_the_compact_form_has_none() -> None:
    puzzle = parse_puzzle("P→Q,P:●,S={a,b},∀x∈S:F(x)?Q∧a∈S")
    assert print_lines(puzzle) == "P → Q\nP: ●\nS = {a, b}\n∀x ∈ S: F(x)\n?Q ∧ a ∈ S"
    assert parse_puzzle(print_lines(puzzle) + "\n") == puzzle


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("", 0, "a formula"),
        ("P", 1, "a connective, ',' or '?'"),
        ("P,?Q", 2, "a premise after ','"),
        ("P→Q P?Q", 4, "a connective, ',' or '?'"),
        ("P?Q?R", 3, "a connective or the end"),
        ("P:◐?P", 2, "a name, an integer or a sign"),
        ("P:?P", 2, "a mark"),
        ("P∧Q:●?P", 3, "only atoms are marked"),
        ("?p", 1, "capital letter"),
        ("?★<☆", 2, "comparisons of glyphs"),
        ("?★=3", 3, "a glyph"),
        ("?3=★", 3, "a name or an integer"),
        ("?3", 2, "a comparison"),
        ("?∀X:P", 2, "small letter"),
        ("?∀x P", 4, "':' or '∈'"),
        ("?(P", 3, "')'"),
        ("?valid:", 6, "valid:e4"),
        ("?valid", 6, "valid:e4"),
        ("?consistent P", 12, "the end"),
        ("consistent?P", 0, "reserved"),
        ("S={a,a}?P", 5, "does not hold yet"),
        ("S={a},S={b}?P", 6, "one definition"),
        ("P\nQ,R\n?P", 3, "the end of the line"),
        ("P\n\n?P", 2, "a formula"),
        ("P\r\n?P", 1, "a sign of logic"),
        ("P->Q?P", 1, "a connective"),
        ("?P(a", 4, "',' or ')'"),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_what_was_expected(
    text: str, position: int, expected: str
) -> None:
    with pytest.raises(PuzzleSyntaxError) as caught:
        parse_puzzle(text)
    assert caught.value.position == position
    assert expected in caught.value.expected
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("?" + "(" * 500 + "P" + ")" * 500, "levels of nesting"),
        ("?" + "¬" * 80 + "P", "nodes of depth"),
        ("?" + "¬" * 4000 + "P", "levels of nesting"),
        ("?" + "∧".join("P" * 100), "nodes of depth"),
        ("→".join("P" * 100) + "?P", "nodes of depth"),
        ("?" + "→".join("P" * 1000), "levels of nesting"),
        ("?" + "∧".join("P" * 5000), "characters of text"),
        ("?" + "P" * 17, "characters of a name"),
        ("?1=" + "1" * 13, "digits"),
    ],
)
def test_what_is_too_large_is_refused(text: str, quantity: str) -> None:
    with pytest.raises(PuzzleTooLarge) as caught:
        parse_puzzle(text)
    assert caught.value.quantity == quantity
    assert caught.value.value > caught.value.limit


def test_the_deepest_tree_within_the_limit_is_printed_and_parsed() -> None:
    formula: tree.Formula = tree.Atom("P")
    for _ in range(tree.DEPTH_MAX - 1):
        formula = tree.Binary("∧", tree.Atom("Q"), formula)
    assert parse_formula(print_formula(formula)) == formula


PIECES = [*"PQSab?,:(){}¬∀∃∈→∧∨↔⊕●◑⊥=<≠★3- \n", "valid:e4", "consistent", "∀x:", "\r", "◐", "é"]


@pytest.mark.slow
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=60))
@settings(max_examples=1500)
def test_no_text_crashes_the_parser_and_what_it_accepts_is_printed_back(text: str) -> None:
    try:
        puzzle = parse_puzzle(text)
    except PuzzleError:
        return
    assert parse_puzzle(print_compact(puzzle)) == puzzle
