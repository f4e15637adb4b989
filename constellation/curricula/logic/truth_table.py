"""Truth tables as integers: bit i is the truth of a formula in candidate model i.

A candidate gives every variable one of its values: an atom False or True, a name one of some
integers. The candidates are numbered in mixed radix, the first variable in the lowest place, so
that each connective is one operation on integers of as many bits as there are candidates.
"""

from dataclasses import dataclass, field
from operator import eq, ge, gt, le, lt, ne
from typing import Final

from constellation.curricula.logic.formula_printer import print_formula
from constellation.curricula.logic.formula_tree import (
    Binary,
    Comparison,
    Formula,
    Member,
    Name,
    Not,
    Operand,
    Quantified,
)
from constellation.curricula.logic.grounding import (
    Bindings,
    Leaf,
    Vocabulary,
    ground,
    instances,
    value_of,
)
from constellation.curricula.logic.puzzle_errors import PuzzleTooLarge

ATOMS_MAX: Final = 16
"""Most atoms of a puzzle, with quantifiers written out."""
CANDIDATES_MAX: Final = 2**ATOMS_MAX
"""Most candidate models, those of unknown integers included."""

_SIGNS = {"<": lt, ">": gt, "≤": le, "≥": ge, "=": eq, "≠": ne}


@dataclass(frozen=True, slots=True)
class Variable:
    """An atom or a name whose value differs between candidates."""

    text: str
    values: tuple[bool, ...] | tuple[int, ...]


@dataclass(slots=True)
class TruthTable:
    """Computes the truth of formulas in all candidates at once."""

    variables: tuple[Variable, ...]
    vocabulary: Vocabulary
    num_candidates: int = 1
    _masks: dict[tuple[str, int], int] = field(default_factory=dict)
    _comparisons: dict[Comparison, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for variable in self.variables:
            self.num_candidates *= len(variable.values)
        if self.num_candidates > CANDIDATES_MAX:
            raise PuzzleTooLarge(
                "candidate models", value=self.num_candidates, limit=CANDIDATES_MAX
            )
        stride = 1
        for variable in self.variables:
            period = stride * len(variable.values)
            for place, value in enumerate(variable.values):
                block = ((1 << stride) - 1) << (stride * place)
                self._masks[variable.text, int(value)] = self._repeated(block, period)
            stride = period

    def _repeated(self, block: int, width: int) -> int:
        """Return a block of `width` bits, repeated over all candidates."""
        while width < self.num_candidates:
            block |= block << width
            width *= 2
        return block & self.full

    @property
    def full(self) -> int:
        """The table of what is true in every candidate."""
        return (1 << self.num_candidates) - 1

    def model(self, table: int) -> dict[str, bool | int] | None:
        """Return the values of the first candidate of a table; None for an empty table."""
        if not table:
            return None
        place, found = (table & -table).bit_length() - 1, {}
        for variable in self.variables:
            place, digit = divmod(place, len(variable.values))
            found[variable.text] = variable.values[digit]
        return found

    def of(self, formula: Formula, bindings: Bindings | None = None) -> int:
        """Return the table of a formula."""
        bindings = bindings or {}
        match formula:
            case Not(body):
                return self.full & ~self.of(body, bindings)
            case Binary(connective, left, right):
                return self._joined(connective, self.of(left, bindings), self.of(right, bindings))
            case Quantified():
                return self._quantified(formula, bindings)
            case _:
                return self._leaf(ground(formula, bindings))

    def _joined(self, connective: str, left: int, right: int) -> int:
        match connective:
            case "∧":
                return left & right
            case "∨":
                return left | right
            case "⊕":
                return left ^ right
            case "→":
                return (self.full & ~left) | right
        return self.full & ~(left ^ right)

    def _quantified(self, formula: Quantified, bindings: Bindings) -> int:
        every = formula.quantifier == "∀"
        table = self.full if every else 0
        for element, inner in instances(formula, self.vocabulary, bindings):
            within = self.full
            if isinstance(formula.domain, str):
                within = self._leaf(Member(element, formula.domain))
            body = self.of(formula.body, inner)
            table = table & (body | (self.full & ~within)) if every else table | (body & within)
        return table

    def _leaf(self, leaf: Leaf) -> int:
        if isinstance(leaf, Comparison):
            if leaf not in self._comparisons:
                self._comparisons[leaf] = self._comparison(leaf)
            return self._comparisons[leaf]
        if isinstance(leaf, Member):
            elements = leaf.collection
            if isinstance(elements, str):
                elements = self.vocabulary.sets.get(elements, elements)
            if isinstance(elements, tuple):
                return self.full if leaf.element in elements else 0
        return self._masks[print_formula(leaf), True]

    def _comparison(self, leaf: Comparison) -> int:
        holds, table = _SIGNS[leaf.sign], 0
        for left, left_table in self._values(leaf.left):
            for right, right_table in self._values(leaf.right):
                if holds(left, right):
                    table |= left_table & right_table
        return table

    def _values(self, operand: Operand) -> list[tuple[int, int]]:
        """Return the values that an operand may have, each with the table of where it has them."""
        if not isinstance(operand, Name):
            return [(value_of(operand), self.full)]
        key = name_key(operand)
        return [(value, self._masks[text, value]) for text, value in self._masks if text == key]


def name_key(name: Name) -> str:
    """Return the text of the variable of a name; a proposition may have the same letters."""
    return f"value of {name.name}"
