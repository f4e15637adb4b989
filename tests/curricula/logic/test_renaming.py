"""Identity up to renaming: equal exactly for puzzles that a renaming turns into each other."""

import itertools
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.curricula.logic.formula_printer import print_compact
from constellation.curricula.logic.formula_tree import Puzzle
from constellation.curricula.logic.puzzle_parser import parse_puzzle
from constellation.curricula.logic.renaming import canonical_text, identity, rename, shape
from tests.curricula.logic.puzzle_strategies import puzzles

CAPITALS = ["P", "Q", "F", "S", "T"]
SMALLS = ["a", "b", "c", "m", "n"]


@pytest.mark.slow
@given(puzzles, st.permutations(CAPITALS), st.permutations(SMALLS))
@settings(max_examples=300)
def test_a_renaming_keeps_the_identity(
    puzzle: Puzzle, capitals: list[str], smalls: list[str]
) -> None:
    names = dict(zip(CAPITALS + SMALLS, capitals + smalls, strict=True))
    renamed = rename(puzzle, names)
    assert identity(renamed) == identity(puzzle)
    back = {new: old for old, new in names.items()}
    assert rename(renamed, back) == puzzle


@given(puzzles)
def test_the_canonical_text_is_a_puzzle_of_the_same_identity(puzzle: Puzzle) -> None:
    canonical = parse_puzzle(canonical_text(puzzle))
    assert identity(canonical) == identity(puzzle)


@given(puzzles, st.randoms(use_true_random=False))
def test_the_order_of_premises_does_not_change_the_shape(puzzle: Puzzle, rng: object) -> None:
    premises = list(puzzle.premises)
    rng.shuffle(premises)  # type: ignore[attr-defined]
    assert shape(Puzzle(tuple(premises), puzzle.query)) == shape(puzzle)


def renamings(text: str) -> Iterator[str]:
    """Yield a text of letters A to C, a and b under every one-to-one renaming, by characters."""
    for capitals in itertools.permutations("ABC"):
        for smalls in itertools.permutations("ab"):
            names = dict(zip("ABCab", (*capitals, *smalls), strict=True))
            yield re.sub("[ABCab]", lambda match, names=names: names[match[0]], text)  # type: ignore[misc]


SIMPLE = [
    "A",
    "B",
    "C",
    "A→B",
    "B→A",
    "A→C",
    "¬A",
    "¬B",
    "A:◑",
    "C:●",
    "A(a)",
    "B(a)",
    "A(b)",
    "a<b",
]


def test_identities_are_equal_exactly_if_some_renaming_makes_the_texts_equal() -> None:
    texts = [
        f"{first},{second}?{query}"
        for first, second in itertools.product(SIMPLE, SIMPLE)
        for query in ("A", "B", "A(a)")
    ]
    by_identity: dict[str, set[str]] = {}
    for text in texts:
        by_identity.setdefault(identity(parse_puzzle(text)), set()).add(text)
    assert len(by_identity) > 100
    for group in by_identity.values():
        first = next(iter(group))
        assert group == set(renamings(first)) & set(texts)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("∀x:P(x),∀x:Q(x)?P(a)", "∀x:P(x),∀y:Q(y)?P(a)", True),
        ("∀x:P(x)?P(x)", "∀x:P(x)?P(a)", True),
        ("∀x:∃y:R(x,y)?R(a,a)", "∀x:∃y:R(y,x)?R(a,a)", False),
        ("P→Q?P", "P→P?P", False),
        ("P,Q?P", "Q,P?P", False),
        ("?3<4", "?3<5", False),
        ("?★=★", "?☆=☆", False),
        ("P:●?P", "P?P", False),
        ("S={a,b}?a∈S", "T={c,d}?c∈T", True),
        ("S={a,b}?a∈S", "T={c,d}?d∈T", False),
        ("a>b?b>a", "m>n?n>m", True),
    ],
)
def test_pairs_that_are_the_same_up_to_renaming(one: str, other: str, same: bool) -> None:
    assert (identity(parse_puzzle(one)) == identity(parse_puzzle(other))) is same


def test_puzzles_with_premises_in_another_order_have_another_identity_but_one_shape() -> None:
    one, other = parse_puzzle("P→Q,P?Q"), parse_puzzle("X,X→Y?Y")
    assert identity(one) != identity(other)
    assert shape(one) == shape(other) == "A0,A0→A1?A0"
    assert print_compact(rename(one, {"P": "Q", "Q": "P"})) == "Q→P,Q?P"
