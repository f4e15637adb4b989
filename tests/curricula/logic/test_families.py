"""Rule families: enough distinct puzzles, balanced answers, distractors, labels that hold."""

import itertools
import random
from collections import Counter
from functools import cache

import pytest

from constellation.curricula.logic.family_catalog import FAMILIES
from constellation.curricula.logic.formula_tree import ANSWERS, Asserted, Atom, Puzzle
from constellation.curricula.logic.prover import prove
from constellation.curricula.logic.puzzle_draft import Draft, Family, Outline
from constellation.curricula.logic.puzzle_generator import Item, generate_items
from constellation.curricula.logic.renaming import identity
from constellation.errors import ConfigError
from tests.curricula.logic.puzzle_strategies import Oracle

pytestmark = pytest.mark.slow

INFINITE = [name for name, family in FAMILIES.items() if family.enumerate is None]


@cache
def items_of(name: str) -> list[Item]:
    return generate_items(FAMILIES[name], 2000, seed=7)


@pytest.mark.parametrize("name", INFINITE)
def test_every_infinite_family_has_two_thousand_trees_that_differ_up_to_renaming(name: str) -> None:
    items = items_of(name)
    assert len({identity(item.puzzle) for item in items}) == len(items) == 2000


@pytest.mark.parametrize("name", FAMILIES)
def test_the_answers_of_a_family_occur_equally_often(name: str) -> None:
    counts = Counter(item.answer for item in items_of(name))
    assert set(counts) == set(FAMILIES[name].answers)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_comparison_identity_chess_and_consistency_are_never_undetermined() -> None:
    decided = {name for name, family in FAMILIES.items() if len(family.answers) == 2}
    assert decided == {"integer_comparison", "symbol_identity", "chess_square", "consistency"}
    assert {family.answers for family in FAMILIES.values()} == {ANSWERS, ("●", "⊥")}


def test_a_finite_family_gives_all_of_its_puzzles_and_no_more() -> None:
    assert len(items_of("chess_square")) == 128
    assert len(items_of("symbol_identity")) == 2 * 24 * 24


@pytest.mark.parametrize("name", FAMILIES)
def test_the_labels_agree_with_an_oracle_that_tries_every_assignment(name: str) -> None:
    small = (item for item in items_of(name) if prove(item.puzzle).num_candidates <= 2**9)
    checked = list(itertools.islice(small, 15))
    assert len(checked) >= (10 if name != "longer_chain" else 1)
    for item in checked:
        assert Oracle(item.puzzle).answer(range(5)) == item.answer


PROPOSITIONS = [*INFINITE[:8], "longer_chain", "exclusive_or"]


@pytest.mark.parametrize("name", PROPOSITIONS)
def test_no_query_about_propositions_is_decided_without_its_premises(name: str) -> None:
    for item in items_of(name)[:200]:
        assert prove(Puzzle((), item.puzzle.query)).answer == "◑"


@pytest.mark.parametrize("name", INFINITE)
def test_puzzles_have_from_no_distractors_to_as_many_as_allowed(name: str) -> None:
    counts = Counter(len(item.puzzle.premises) for item in items_of(name))
    assert max(counts) - min(counts) >= FAMILIES[name].num_distractors_max
    assert len(counts) >= 3


@pytest.mark.parametrize("name", INFINITE)
def test_the_sign_of_the_query_says_nothing_about_the_answer(name: str) -> None:
    if FAMILIES[name].asks_consistency:
        return
    counts = Counter(
        (item.answer, type(item.puzzle.query).__name__ == "Not") for item in items_of(name)
    )
    shares = [
        counts[a, True] / (counts[a, True] + counts[a, False]) for a in ANSWERS if counts[a, True]
    ]
    assert max(shares) - min(shares) < 0.25


def test_the_same_seed_gives_the_same_puzzles_and_another_seed_others() -> None:
    family = FAMILIES["chain"]
    first = generate_items(family, 50, seed=3)
    assert generate_items(family, 50, seed=3) == first
    assert generate_items(family, 50, seed=4) != first


def test_chains_have_two_to_six_links_and_longer_chains_seven_to_ten() -> None:
    for name, least, most in (("chain", 2, 6), ("longer_chain", 7, 10)):
        lengths = [
            len(premise.links) - 1
            for item in items_of(name)
            for premise in item.puzzle.premises
            if hasattr(premise, "links")
        ]
        assert (min(lengths), max(lengths)) == (least, most)


def test_a_family_without_enough_puzzles_is_refused_after_a_limited_number_of_draws() -> None:
    def draw(draft: Draft, status: str) -> Outline:
        return [Asserted(Atom("P"))], Atom("P" if status == "true" else "Q")

    poor = Family(name="poor", draw=draw, num_distractors_max=0)
    with pytest.raises(ConfigError, match="'poor' gave"):
        generate_items(poor, 30, seed=0)


def test_a_draft_gives_no_letter_twice() -> None:
    draft = Draft(random.Random(0))
    letters = [draft.capital() for _ in range(26)] + [draft.small() for _ in range(23)]
    assert len(set(letters)) == 49
