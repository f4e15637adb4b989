"""Rename the letters of puzzles; two puzzles are the same up to renaming if their identities agree.

Letters are the names of propositions, predicates, sets, constants, variables and unknown integers.
Integers, glyphs and squares are constants of the language and keep their text.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from constellation.curricula.logic.formula_printer import (
    print_compact,
    print_premise,
    print_query,
)
from constellation.curricula.logic.formula_tree import (
    Asserted,
    Atom,
    Binary,
    Chain,
    Comparison,
    Consistent,
    Constant,
    Formula,
    Marked,
    Member,
    Name,
    Not,
    Operand,
    Predicate,
    Premise,
    Puzzle,
    Quantified,
    Query,
    SetDefinition,
    ValidSquare,
    is_integer,
)


def rename(puzzle: Puzzle, names: Mapping[str, str]) -> Puzzle:
    """Return a puzzle with other letters; names that the mapping lacks stay as they are."""
    renamer = _Renamer(lambda name: names.get(name, name), is_by_depth=False)
    return renamer.puzzle(puzzle)


def canonical_text(puzzle: Puzzle) -> str:
    """Return the compact form with letters by order of appearance, bound variables by depth.

    Equal for two puzzles exactly if a one-to-one renaming that keeps capital letters capital turns
    one into the other.
    """
    return print_compact(_canonical_renamer().puzzle(puzzle))


def identity(puzzle: Puzzle) -> str:
    """Return 16 hexadecimal digits that are equal for puzzles equal up to renaming."""
    return hashlib.sha256(canonical_text(puzzle).encode()).hexdigest()[:16]


def shape(puzzle: Puzzle) -> str:
    """Return a text that is equal for puzzles equal up to renaming and the order of premises.

    Each premise and the query is renamed by itself, so that more puzzles share a shape than are
    equal. Splits go by shapes: puzzles that are nearly the same fall on one side.
    """
    premises = sorted(
        print_premise(_canonical_renamer().premise(premise)) for premise in puzzle.premises
    )
    query = print_query(_canonical_renamer().query(puzzle.query))
    return f"{','.join(premises)}?{query}"


def _canonical_renamer() -> "_Renamer":
    found: dict[str, str] = {}

    def letter(name: str) -> str:
        initial = "A" if name[0].isupper() else "a"
        return found.setdefault(name, f"{initial}{len(found)}")

    return _Renamer(letter, is_by_depth=True)


@dataclass(slots=True)
class _Renamer:
    """Rebuilds trees with other letters."""

    letter: Callable[[str], str]
    is_by_depth: bool
    """Name bound variables by the number of quantifiers around them."""
    bound: dict[str, str] = field(default_factory=dict)

    def puzzle(self, puzzle: Puzzle) -> Puzzle:
        premises = tuple(self.premise(premise) for premise in puzzle.premises)
        return Puzzle(premises, self.query(puzzle.query))

    def premise(self, premise: Premise) -> Premise:
        match premise:
            case Asserted(formula):
                return Asserted(self.formula(formula))
            case Chain(links):
                return Chain(tuple(map(self.formula, links)))
            case Marked(atom, mark):
                renamed = self.formula(atom)
                assert isinstance(renamed, Atom | Predicate | Member)
                return Marked(renamed, mark)
            case SetDefinition(name, elements):
                return SetDefinition(self.letter(name), self.elements(elements))
            case Constant(name):
                return Constant(self.element(name))

    def query(self, query: Query) -> Query:
        return query if isinstance(query, Consistent | ValidSquare) else self.formula(query)

    def formula(self, formula: Formula) -> Formula:
        match formula:
            case Atom(name):
                return Atom(self.letter(name))
            case Predicate(name, arguments):
                return Predicate(self.letter(name), self.elements(arguments))
            case Member(element, collection):
                return Member(self.element(element), self.collection(collection))
            case Comparison(sign, left, right):
                return Comparison(sign, self.operand(left), self.operand(right))
            case Not(body):
                return Not(self.formula(body))
            case Binary(connective, left, right):
                return Binary(connective, self.formula(left), self.formula(right))
            case Quantified():
                return self.quantified(formula)

    def quantified(self, formula: Quantified) -> Formula:
        domain = None if formula.domain is None else self.collection(formula.domain)
        outer = self.bound
        # The name in the middle has a capital or digit pattern that `letter` never makes.
        variable = f"v_{len(outer)}" if self.is_by_depth else self.letter(formula.variable)
        self.bound = {**outer, formula.variable: variable}
        body = self.formula(formula.body)
        self.bound = outer
        return Quantified(formula.quantifier, variable, domain, body)

    def operand(self, operand: Operand) -> Operand:
        return Name(self.element(operand.name)) if isinstance(operand, Name) else operand

    def collection(self, collection: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(collection, str):
            return self.letter(collection)
        return self.elements(collection)

    def elements(self, elements: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(self.element, elements))

    def element(self, element: str) -> str:
        if is_integer(element):
            return element
        return self.bound[element] if element in self.bound else self.letter(element)
