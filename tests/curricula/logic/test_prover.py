"""The prover agrees with an oracle that tries every assignment, and its evidence holds."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.curricula.logic import formula_tree as tree
from constellation.curricula.logic.prover import prove
from constellation.curricula.logic.puzzle_errors import PuzzleError, PuzzleTooLarge
from constellation.curricula.logic.puzzle_parser import parse_puzzle
from tests.curricula.logic.puzzle_strategies import Oracle, comparisons, puzzles


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("P→Q,P?Q", "●"),
        ("∀x:P(x),a?P(a)", "●"),
        ("P∧Q?P", "●"),
        ("A→B→C,A?C", "●"),
        ("A→(B→C),A?C", "◑"),
        ("?A→B→A", "●"),
        ("A:●,A→B,B:⊥?C", "⊥"),
        ("A:●,A→B,B:⊥?consistent", "⊥"),
        ("A:●,A→B?consistent", "●"),
        ("A:◑?A", "◑"),
        ("A:◑?A∨¬A", "●"),
        ("P→Q,Q?P", "◑"),
        ("P⊕Q,P?Q", "⊥"),
        ("S={a,b},P(a),P(b)?∀x∈S:P(x)", "●"),
        ("S={a,b},P(a)?∀x∈S:P(x)", "◑"),
        ("S={a,b}?c∈S", "⊥"),
        ("S={}?∃x∈S:P(x)", "⊥"),
        ("a∈S,∀x∈S:x∈T?a∈T", "●"),
        ("∀x∈{1,2}:x<3?P", "◑"),
        ("?∃x∈{1,2}:x>2", "⊥"),
        ("?★=★", "●"),
        ("?★≠★", "⊥"),
        ("?valid:e4", "●"),
        ("?valid:e9", "⊥"),
        ("?valid:e44", "⊥"),
        ("P,¬P?valid:e4", "⊥"),
        ("?3+4>6", "●"),
        ("?10-20=-10", "●"),
        ("A>B,B>C?A>C", "●"),
        ("A>B,A>C?B>C", "◑"),
        ("3>5,5>7?3>7", "⊥"),
        ("a>3,a<5?a=4", "●"),
        ("a>3,a<6?a=4", "◑"),
        ("a>1000,b<-1000?a>b", "●"),
    ],
)
def test_puzzles_with_known_answers(text: str, answer: str) -> None:
    puzzle = parse_puzzle(text)
    assert prove(puzzle).answer == answer
    span = range(-4, 10) if "1000" not in text else (-1001, 0, 1001)
    assert Oracle(puzzle).answer(span) == answer


def check_evidence(puzzle: tree.Puzzle) -> str:
    """Prove a puzzle and check the evidence by the oracle; return the answer."""
    oracle = Oracle(puzzle)
    proof = prove(puzzle)
    worlds = [oracle_world(model) for model in proof.models]
    assert all(oracle.true_premises(filled(oracle, world)) for world in worlds)
    if proof.answer == "◑":
        truths = [oracle.holds(puzzle.query, filled(oracle, world), {}) for world in worlds]
        assert truths == [True, False]
    else:
        assert len(worlds) == (proof.num_models > 0)
    assert 0 <= proof.num_models <= proof.num_candidates <= 2**16
    return proof.answer


def oracle_world(model: dict[str, bool | int]) -> dict[object, object]:
    """Return a model of the prover with the keys of the oracle."""
    world: dict[object, object] = {}
    for text, value in model.items():
        if "(" in text:
            world["F", text[2:-1]] = value
        elif "∈" in text:
            element, _, where = text.partition("∈")
            world["∈", element, where] = value
        else:
            world[text if isinstance(value, bool) else f"#{text}"] = value
    return world


def filled(oracle: Oracle, world: dict[object, object]) -> dict[object, object]:
    """Return a world in which what the model leaves open, and nothing depends on, is False."""
    first = next(oracle.worlds(range(1)))
    return {**first, **world}


@pytest.mark.slow
@given(puzzles)
@settings(max_examples=300)
def test_the_prover_agrees_with_the_oracle_on_random_puzzles(puzzle: tree.Puzzle) -> None:
    oracle = Oracle(puzzle)
    span = range(-30, 31) if "Name" in repr(oracle.formulas) else range(1)
    num_worlds = math.prod(map(len, oracle.ranges(span).values()))
    try:
        answer = check_evidence(puzzle)
    except PuzzleError:
        return
    if num_worlds <= 4_000:
        assert answer == oracle.answer(span)


@given(st.lists(comparisons, min_size=1, max_size=4))
def test_the_values_that_names_are_tried_with_are_enough(some: list[tree.Comparison]) -> None:
    puzzle = tree.Puzzle(tuple(map(tree.Asserted, some[1:])), some[0])
    assert check_evidence(puzzle) == Oracle(puzzle).answer(range(-32, 33))


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        (",".join("ABCDEFGHIJKLMNOPQ") + "?A", "atoms"),
        (",".join(f"{a}>{b}" for a, b in zip("abcdefg", "bcdefgh", strict=True)) + "?a>b", "names"),
        (
            "a∈{1,"
            + ",".join(map(str, range(2, 99)))
            + "}?"
            + "".join(f"∀{v}:" for v in "xyzwuv")
            + "P",
            "nodes without",
        ),
    ],
)
def test_what_would_cost_too_much_is_refused_before_the_cost(text: str, quantity: str) -> None:
    with pytest.raises(PuzzleTooLarge) as caught:
        prove(parse_puzzle(text))
    assert caught.value.quantity.startswith(quantity)


def test_many_names_and_numbers_are_refused_before_their_values_are_listed() -> None:
    premises = [tree.Comparison(">", tree.Name(f"a{n}"), tree.Total((n,))) for n in range(900)]
    puzzle = tree.Puzzle(tuple(map(tree.Asserted, premises)), tree.Consistent())
    with pytest.raises(PuzzleTooLarge, match="900 names"):
        prove(puzzle)
    with pytest.raises(PuzzleTooLarge, match="candidate models"):
        prove(tree.Puzzle(puzzle.premises[:6], tree.Consistent()))


def test_sixteen_atoms_are_proved() -> None:
    letters = "ABCDEFGHIJKLMNOP"
    proof = prove(parse_puzzle("∨".join(letters) + "?A"))
    assert (proof.answer, proof.num_candidates, proof.num_models) == ("◑", 2**16, 2**16 - 1)


def test_a_tree_that_was_built_too_deep_is_refused() -> None:
    formula: tree.Formula = tree.Atom("P")
    for _ in range(50_000):
        formula = tree.Not(formula)
    with pytest.raises(PuzzleTooLarge):
        prove(tree.Puzzle((), formula))


def test_a_name_with_the_letters_of_a_proposition_has_a_value_of_its_own() -> None:
    proof = prove(parse_puzzle("A,A>3,A<5?A∧A=4"))
    assert (proof.answer, proof.models) == ("●", ({"A": True, "value of A": 4},))


def test_a_variable_without_a_constant_to_range_over_is_refused() -> None:
    with pytest.raises(PuzzleError, match="no constant to range over"):
        prove(parse_puzzle("∀x:P(x)?Q"))
