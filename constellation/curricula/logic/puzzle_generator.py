"""Draw distinct puzzles of a family, in equal numbers for each answer; the prover labels them."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from constellation.curricula.logic.formula_tree import (
    FALSE,
    TRUE,
    UNDETERMINED,
    Consistent,
    Not,
    Puzzle,
    Query,
)
from constellation.curricula.logic.prover import prove
from constellation.curricula.logic.puzzle_draft import Draft, Drawing, Family
from constellation.curricula.logic.puzzle_parser import parse_compact
from constellation.curricula.logic.renaming import identity
from constellation.errors import ConfigError

TRIES_MAX: Final = 50
"""Most draws for each wanted puzzle, on average."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One generated puzzle with its proved answer."""

    family: str
    puzzle: Puzzle
    answer: str
    identity: str
    """Equal for puzzles that are equal up to renaming."""


def generate_items(family: Family, count: int, *, seed: int) -> list[Item]:
    """Return `count` puzzles that differ up to renaming, the same ones for the same seed.

    The answers that the family can have occur equally often, or once more. A finite family returns
    all of its puzzles when it has fewer.

    Raises:
        ConfigError: The family has too few puzzles to draw so many.
    """
    found: list[Item] = []
    seen: set[str] = set()
    for place, answer in enumerate(family.answers):
        wanted = (count + place) // len(family.answers)
        rng = random.Random(f"{seed} {family.name} {answer}")
        found += _items(family, answer, wanted, rng, seen)
    random.Random(f"{seed} {family.name}").shuffle(found)
    return found


def _items(
    family: Family, answer: str, wanted: int, rng: random.Random, seen: set[str]
) -> list[Item]:
    found: list[Item] = []
    for num_drawn, puzzle in enumerate(_candidates(family, answer, rng)):
        if len(found) == wanted:
            break
        if num_drawn > TRIES_MAX * (wanted + 10):
            raise ConfigError(
                f"family {family.name!r} gave {len(found)} of {wanted} distinct puzzles with the "
                f"answer {answer} in {num_drawn} draws; ask for fewer puzzles"
            )
        key = identity(puzzle)
        if key not in seen and prove(puzzle).answer == answer:
            seen.add(key)
            found.append(Item(family=family.name, puzzle=puzzle, answer=answer, identity=key))
    return found


def _candidates(family: Family, answer: str, rng: random.Random) -> Iterator[Puzzle]:
    if family.enumerate is not None:
        texts = [text for label, text in family.enumerate() if label == answer]
        yield from map(parse_compact, rng.sample(texts, len(texts)))
        return
    assert family.draw is not None
    while True:
        yield draw_puzzle(family, family.draw, answer, rng)


def draw_puzzle(family: Family, draw: Drawing, answer: str, rng: random.Random) -> Puzzle:
    """Return a random puzzle whose answer is, nearly always, the one given.

    A third of the decided puzzles asks a negation, so that its sign says nothing about the answer.
    """
    draft = Draft(rng)
    is_negated = not family.asks_consistency and draft.chance(1 / 3)
    status = {TRUE: "true", FALSE: "false", UNDETERMINED: "open"}[answer]
    if is_negated and status != "open":
        status = "false" if status == "true" else "true"
    premises, asked = draw(draft, status)
    premises += draft.distractors(family.num_distractors_max)
    rng.shuffle(premises)
    query: Query = Not(asked) if is_negated else asked
    return Puzzle(tuple(premises), Consistent() if family.asks_consistency else query)
