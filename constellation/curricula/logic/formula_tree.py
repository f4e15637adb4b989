"""The syntax tree of logic puzzles: formulas, premises and queries, which both surfaces share.

All nodes are frozen and compare by value. An *element* is the name of a constant or variable, or a
decimal integer, as text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

TRUE: Final = "●"
UNDETERMINED: Final = "◑"
FALSE: Final = "⊥"
ANSWERS: Final = (TRUE, UNDETERMINED, FALSE)
"""The three answers: certain, undetermined, false or contradictory."""
GLYPHS: Final = "★☆▲△▼▽■□◆◇♠♣♥♦♪♫☀☁☂☎✓✗✦✧"
"""Symbols that may be compared for identity."""
CONNECTIVES: Final = ("↔", "→", "∨", "⊕", "∧")
"""Binary connectives, the weakest binding first; `→` associates to the right."""
COMPARISONS: Final = ("<", ">", "≤", "≥", "=", "≠")

DEPTH_MAX: Final = 64
"""Most nodes from the root of a formula to a leaf."""
TEXT_MAX: Final = 4096
"""Most characters of a puzzle's text."""
NAME_MAX: Final = 16
"""Most characters of a name."""
DIGITS_MAX: Final = 12
"""Most digits of an integer."""


@dataclass(frozen=True, slots=True)
class Atom:
    """A proposition, such as `P`."""

    name: str


@dataclass(frozen=True, slots=True)
class Predicate:
    """A predicate of one or several elements, such as `P(a)`."""

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """Membership of an element in a named or literal set: `a∈S` or `a∈{a,b}`."""

    element: str
    collection: "str | tuple[str, ...]"


@dataclass(frozen=True, slots=True)
class Name:
    """An operand of a comparison that stands for an unknown integer."""

    name: str


@dataclass(frozen=True, slots=True)
class Glyph:
    """An operand of a comparison that is one of `GLYPHS`."""

    symbol: str


@dataclass(frozen=True, slots=True)
class Total:
    """An operand of a comparison that is a sum of integers: (3, 4, -2) is `3+4-2`."""

    parts: tuple[int, ...]


Operand = Name | Glyph | Total


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of two operands by one of `COMPARISONS`."""

    sign: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Not:
    """The negation of a formula."""

    body: "Formula"


@dataclass(frozen=True, slots=True)
class Binary:
    """Two formulas joined by one of `CONNECTIVES`."""

    connective: str
    left: "Formula"
    right: "Formula"


@dataclass(frozen=True, slots=True)
class Quantified:
    """A formula about all elements (`∀`) or some element (`∃`) of a domain.

    The domain is a named set, a literal set, or None: all constants that the puzzle names.
    """

    quantifier: Literal["∀", "∃"]
    variable: str
    domain: "str | tuple[str, ...] | None"
    body: "Formula"


Formula = Atom | Predicate | Member | Comparison | Not | Binary | Quantified
Markable = Atom | Predicate | Member


@dataclass(frozen=True, slots=True)
class Asserted:
    """A premise that is a formula, which holds."""

    formula: Formula


@dataclass(frozen=True, slots=True)
class Chain:
    """A premise of three or more formulas, each of which implies the next: `A→B→C`.

    The chain says more than the formula `A→(B→C)`: also that A implies B.
    """

    links: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class Marked:
    """A premise that marks an atom as true, false or undetermined: `P: ●`."""

    atom: Markable
    mark: str


@dataclass(frozen=True, slots=True)
class SetDefinition:
    """A premise that lists the elements of a set: `S={a,b}`."""

    name: str
    elements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Constant:
    """A premise that names a constant, over which quantifiers range: `a`."""

    name: str


Premise = Asserted | Chain | Marked | SetDefinition | Constant


@dataclass(frozen=True, slots=True)
class Consistent:
    """The query whether the premises have a model: `?consistent`."""


@dataclass(frozen=True, slots=True)
class ValidSquare:
    """The query whether a text names a square of the chess board: `?valid:e4`."""

    square: str


Query = Formula | Consistent | ValidSquare


@dataclass(frozen=True, slots=True)
class Puzzle:
    """Premises and one query."""

    premises: tuple[Premise, ...]
    query: Query


def formulas_of(puzzle: Puzzle) -> Iterator[Formula]:
    """Yield the formulas of all premises and of the query, in order."""
    for premise in puzzle.premises:
        if isinstance(premise, Asserted):
            yield premise.formula
        elif isinstance(premise, Chain):
            yield from implications(premise)
        elif isinstance(premise, Marked):
            yield premise.atom
    if not isinstance(puzzle.query, Consistent | ValidSquare):
        yield puzzle.query


def implications(chain: Chain) -> Iterator[Formula]:
    """Yield the implications that a chain consists of."""
    for left, right in pairwise(chain.links):
        yield Binary("→", left, right)


def depth(formula: Formula) -> int:
    """Return the number of nodes on the longest path from the root to a leaf, without recursion."""
    deepest, waiting = 0, [(formula, 1)]
    while waiting:
        node, level = waiting.pop()
        deepest = max(deepest, level)
        if isinstance(node, Not | Quantified):
            waiting.append((node.body, level + 1))
        elif isinstance(node, Binary):
            waiting += [(node.left, level + 1), (node.right, level + 1)]
    return deepest


def is_integer(element: str) -> bool:
    """Return whether an element is a decimal integer, and not a name."""
    return element.removeprefix("-").isdecimal()
