"""List what a puzzle's truth depends on: ground atoms, unknown integers, constants, sets.

Quantifiers over a defined or literal set range over its elements; all others range over the
constants that the puzzle names. A set without a definition is an atom for each element.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from constellation.curricula.logic.formula_tree import (
    DEPTH_MAX,
    Atom,
    Binary,
    Comparison,
    Constant,
    Formula,
    Glyph,
    Member,
    Name,
    Not,
    Operand,
    Predicate,
    Puzzle,
    Quantified,
    SetDefinition,
    Total,
    depth,
    formulas_of,
    is_integer,
)
from constellation.curricula.logic.puzzle_errors import PuzzleError, PuzzleTooLarge

GROUND_NODES_MAX: Final = 20_000
"""Most nodes and elements of literal sets, together, after quantifiers are written out."""

Leaf = Atom | Predicate | Member | Comparison
Bindings = Mapping[str, str]
"""Bound variable -> the element that it stands for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """The sets and constants of a puzzle, over which quantifiers range."""

    sets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Defined set -> its elements."""
    constants: tuple[str, ...] = ()
    """All constants that the puzzle names, in order of appearance."""

    def range_of(self, formula: Quantified) -> tuple[str, ...]:
        """Return the elements that a quantifier ranges over.

        Raises:
            PuzzleError: The quantifier needs a named constant and there is none.
        """
        if isinstance(formula.domain, tuple):
            return formula.domain
        if formula.domain in self.sets:
            return self.sets[formula.domain]
        if not self.constants:
            raise PuzzleError(
                f"the variable {formula.variable!r} has no constant to range over; name one, such "
                "as the premise 'a', or give the quantifier a set"
            )
        return self.constants


def vocabulary_of(puzzle: Puzzle) -> Vocabulary:
    """Return the sets and constants of a puzzle.

    Raises:
        PuzzleTooLarge: A formula is deeper than `DEPTH_MAX` nodes.
    """
    for formula in formulas_of(puzzle):
        if (deep := depth(formula)) > DEPTH_MAX:
            raise PuzzleTooLarge("nodes of depth", value=deep, limit=DEPTH_MAX)
    definitions = [each for each in puzzle.premises if isinstance(each, SetDefinition)]
    named = [each.name for each in puzzle.premises if isinstance(each, Constant)]
    named += [element for each in definitions for element in each.elements]
    for formula in formulas_of(puzzle):
        named += _elements(formula, frozenset())
    return Vocabulary(
        sets={each.name: each.elements for each in definitions},
        constants=tuple(dict.fromkeys(named)),
    )


def _elements(formula: Formula, bound: frozenset[str]) -> Iterator[str]:
    """Yield the elements in a formula that are no bound variables."""
    found: tuple[str, ...] = ()
    match formula:
        case Predicate(_, arguments):
            found = arguments
        case Member(element, collection):
            found = (element, *(collection if isinstance(collection, tuple) else ()))
        case Not(body):
            yield from _elements(body, bound)
        case Binary(_, left, right):
            yield from _elements(left, bound)
            yield from _elements(right, bound)
        case Quantified(_, variable, domain, body):
            found = domain if isinstance(domain, tuple) else ()
            yield from (each for each in found if each not in bound)
            yield from _elements(body, bound | {variable})
            return
    yield from (each for each in found if each not in bound)


def check_size(puzzle: Puzzle, vocabulary: Vocabulary) -> None:
    """Refuse a puzzle whose quantifiers would be written out to too many nodes.

    Raises:
        PuzzleTooLarge: There would be over `GROUND_NODES_MAX` nodes.
        PuzzleError: A quantifier has nothing to range over.
    """
    nodes = sum(_num_nodes(formula, vocabulary) for formula in formulas_of(puzzle))
    if nodes > GROUND_NODES_MAX:
        raise PuzzleTooLarge("nodes without quantifiers", value=nodes, limit=GROUND_NODES_MAX)


def _num_nodes(formula: Formula, vocabulary: Vocabulary) -> int:
    match formula:
        case Not(body):
            return 1 + _num_nodes(body, vocabulary)
        case Binary(_, left, right):
            return 1 + _num_nodes(left, vocabulary) + _num_nodes(right, vocabulary)
        case Quantified(_, _, _, body):
            return 1 + len(vocabulary.range_of(formula)) * (1 + _num_nodes(body, vocabulary))
        case Member(_, collection) if isinstance(collection, tuple):
            return 1 + len(collection)
    return 1


def leaves(
    formula: Formula, vocabulary: Vocabulary, bindings: Bindings | None = None
) -> Iterator[Leaf]:
    """Yield the leaves of a formula with all quantifiers written out, repeats included."""
    bindings = bindings or {}
    match formula:
        case Not(body):
            yield from leaves(body, vocabulary, bindings)
        case Binary(_, left, right):
            yield from leaves(left, vocabulary, bindings)
            yield from leaves(right, vocabulary, bindings)
        case Quantified():
            for element, inner in instances(formula, vocabulary, bindings):
                if isinstance(formula.domain, str) and formula.domain not in vocabulary.sets:
                    yield Member(element, formula.domain)
                yield from leaves(formula.body, vocabulary, inner)
        case _:
            yield ground(formula, bindings)


def instances(
    formula: Quantified, vocabulary: Vocabulary, bindings: Bindings
) -> Iterator[tuple[str, Bindings]]:
    """Yield every element that a quantifier ranges over, with the bindings inside it."""
    for each in vocabulary.range_of(formula):
        element = bindings.get(each, each) if isinstance(formula.domain, tuple) else each
        yield element, {**bindings, formula.variable: element}


def ground(leaf: Leaf, bindings: Bindings) -> Leaf:
    """Return a leaf with its bound variables replaced by their elements."""
    match leaf:
        case Predicate(_, arguments):
            return replace(leaf, arguments=_bound(arguments, bindings))
        case Member(element, collection):
            inner = _bound(collection, bindings) if isinstance(collection, tuple) else collection
            return Member(bindings.get(element, element), inner)
        case Comparison(_, left, right):
            return replace(leaf, left=_operand(left, bindings), right=_operand(right, bindings))
    return leaf


def _bound(elements: tuple[str, ...], bindings: Bindings) -> tuple[str, ...]:
    return tuple(bindings.get(each, each) for each in elements)


def _operand(operand: Operand, bindings: Bindings) -> Operand:
    if not isinstance(operand, Name) or operand.name not in bindings:
        return operand
    element = bindings[operand.name]
    return Total((int(element),)) if is_integer(element) else Name(element)


def value_of(operand: Glyph | Total) -> int:
    """Return a number that equals that of another operand exactly if the operands are equal."""
    return sum(operand.parts) if isinstance(operand, Total) else ord(operand.symbol)
