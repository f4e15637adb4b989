"""Draw the parts of a puzzle at random: fresh letters, compound operands, facts, distractors."""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from constellation.curricula.logic.formula_tree import (
    FALSE,
    TRUE,
    UNDETERMINED,
    Asserted,
    Atom,
    Binary,
    Formula,
    Marked,
    Member,
    Not,
    Predicate,
    Premise,
)

PROPOSITIONS_MAX: Final = 13
"""Most propositions of a generated puzzle, distractors included."""
DISTRACTORS_MAX: Final = 4
"""Most premises that have nothing to do with the query."""


class Draft:
    """One puzzle in the making: draws from a seeded generator and uses no letter twice."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.num_propositions = PROPOSITIONS_MAX
        self._capitals = rng.sample(string.ascii_uppercase, 26)
        self._smalls = rng.sample("abcdefghijklmnopqrstuvw", 23)
        self._variables = rng.sample("xyz", 3)

    def capital(self) -> str:
        """Return a capital letter that the puzzle does not have yet."""
        return self._capitals.pop()

    def small(self) -> str:
        """Return a small letter from a to w that the puzzle does not have yet."""
        return self._smalls.pop()

    def variable(self) -> str:
        """Return one of x, y and z that the puzzle does not have yet."""
        return self._variables.pop()

    def chance(self, share: float) -> bool:
        """Return True with a probability."""
        return self.rng.random() < share

    def atom(self) -> Atom:
        """Return a new proposition."""
        self.num_propositions -= 1
        return Atom(self.capital())

    def operand(self, *, needed: int = 0) -> Formula:
        """Return a new formula of one or two new propositions, true in some models only.

        Args:
            needed: Propositions that the puzzle needs besides, for which letters are kept.
        """
        if self.num_propositions < needed + 2 or self.chance(0.45):
            return self.atom()
        if self.chance(0.3):
            return Not(self.atom())
        left, right = (Not(a) if self.chance(0.2) else a for a in (self.atom(), self.atom()))
        return Binary(self.rng.choice("∧∨→"), left, right)

    def fact(self, formula: Formula) -> Premise:
        """Return a premise that a formula is true; atoms are asserted or marked."""
        if isinstance(formula, Atom | Predicate | Member) and self.chance(0.5):
            return Marked(formula, TRUE)
        if isinstance(formula, Not) and isinstance(formula.body, Atom | Predicate | Member):
            return Marked(formula.body, FALSE) if self.chance(0.5) else Asserted(formula)
        return Asserted(formula)

    def open_mark(self, formula: Formula) -> list[Premise]:
        """Return a premise that an atom is undetermined, or nothing, as always for others."""
        if isinstance(formula, Atom | Predicate) and self.chance(0.6):
            return [Marked(formula, UNDETERMINED)]
        return []

    def distractors(self, num_max: int = DISTRACTORS_MAX) -> list[Premise]:
        """Return up to `num_max` premises about new propositions, none of which contradict."""
        wanted, found = self.rng.randint(0, num_max), list[Premise]()
        while len(found) < wanted and self.num_propositions >= 2:
            first = self.atom()
            if self.chance(0.5):
                premise = self.fact(Not(first) if self.chance(0.5) else first)
                found.append(Marked(first, UNDETERMINED) if self.chance(0.25) else premise)
            else:
                found.append(Asserted(Binary(self.rng.choice("→→∨∧"), first, self.atom())))
        return found


Outline = tuple[list[Premise], Formula]
"""Premises, and a formula that is true, false or open in their models."""
Drawing = Callable[[Draft, str], Outline]
"""Draws an outline whose formula is "true", "false" or "open", as the second argument demands."""


Labelled = tuple[str, str]
"""The answer to a puzzle, and the puzzle in compact form."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A rule of logic, with the way to draw puzzles about it: `draw` or `enumerate`."""

    name: str
    draw: Drawing | None = None
    """For an infinite family."""
    enumerate: Callable[[], tuple[Labelled, ...]] | None = None
    """For a finite family: returns all of its puzzles."""
    answers: tuple[str, ...] = (TRUE, UNDETERMINED, FALSE)
    """Answers that its puzzles have, in equal shares."""
    split: str | None = None
    """Name of the split that holds all of its puzzles; None for a family that is trained."""
    num_distractors_max: int = DISTRACTORS_MAX
    asks_consistency: bool = False
    """Ask `?consistent` instead of the formula of the outline."""
