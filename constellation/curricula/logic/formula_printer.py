"""Write a puzzle in one of the two surfaces: line form with spaces, or compact form without."""

from collections.abc import Sequence
from typing import assert_never

from constellation.curricula.logic.formula_tree import (
    CONNECTIVES,
    Asserted,
    Atom,
    Binary,
    Chain,
    Comparison,
    Consistent,
    Constant,
    Formula,
    Glyph,
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
    Total,
    ValidSquare,
)

_ABOVE = CONNECTIVES.index("→") + 1  # the level of what needs no parentheses beside an arrow


def print_lines(puzzle: Puzzle) -> str:
    """Return the line form: one premise a line, then the query, such as `P → Q`, `P: ●`, `?Q`."""
    lines = [print_premise(premise, " ") for premise in puzzle.premises]
    return "\n".join([*lines, f"?{print_query(puzzle.query, ' ')}"])


def print_compact(puzzle: Puzzle) -> str:
    """Return the compact form: premises separated by commas, then the query: `P→Q,P?Q`."""
    premises = ",".join(print_premise(premise) for premise in puzzle.premises)
    return f"{premises}?{print_query(puzzle.query)}"


def print_premise(premise: Premise, space: str = "") -> str:
    """Return the text of one premise; `space` stands around signs and after commas."""
    match premise:
        case Asserted(Binary("→", left, Binary("→") as right)):
            # Without these parentheses the premise would be a chain.
            return f"{_operand(left, space, _ABOVE)}{space}→{space}({print_formula(right, space)})"
        case Asserted(formula):
            return print_formula(formula, space)
        case Chain(links):
            return f"{space}→{space}".join(_operand(link, space, _ABOVE) for link in links)
        case Marked(atom, mark):
            return f"{print_formula(atom, space)}:{space}{mark}"
        case SetDefinition(name, elements):
            return f"{name}{space}={space}{_braces(elements, space)}"
        case Constant(name):
            return name
    assert_never(premise)


def print_query(query: Query, space: str = "") -> str:
    """Return the text of a query, without the `?` before it."""
    if isinstance(query, Consistent):
        return "consistent"
    if isinstance(query, ValidSquare):
        return f"valid:{query.square}"
    return print_formula(query, space)


def print_formula(formula: Formula, space: str = "") -> str:
    """Return the text of a formula, with the fewest parentheses that keep its tree.

    A quantified formula reaches as far to the right as possible, so that it gets parentheses inside
    a connective or negation.
    """
    match formula:
        case Atom(name):
            return name
        case Predicate(name, arguments):
            return f"{name}({f',{space}'.join(arguments)})"
        case Member(element, collection):
            return f"{element}{space}∈{space}{_set(collection, space)}"
        case Comparison(sign, left, right):
            return f"{print_operand(left)}{space}{sign}{space}{print_operand(right)}"
        case Not(body):
            return f"¬{_operand(body, space, len(CONNECTIVES))}"
        case Binary(connective, left, right):
            level = CONNECTIVES.index(connective)
            on_left, on_right = (level + 1, level) if connective == "→" else (level, level + 1)
            ends = (_operand(left, space, on_left), _operand(right, space, on_right))
            return f"{space}{connective}{space}".join(ends)
        case Quantified(quantifier, variable, domain, body):
            bound = "" if domain is None else f"{space}∈{space}{_set(domain, space)}"
            return f"{quantifier}{variable}{bound}:{space}{print_formula(body, space)}"
    assert_never(formula)


def print_operand(operand: Operand) -> str:
    """Return the text of an operand of a comparison, such as `a`, `★` or `3+4-2`."""
    if isinstance(operand, Name):
        return operand.name
    if isinstance(operand, Glyph):
        return operand.symbol
    assert isinstance(operand, Total)
    first, *rest = operand.parts
    return f"{first}{''.join(f'{part:+d}' for part in rest)}"


def _operand(formula: Formula, space: str, level_min: int) -> str:
    text = print_formula(formula, space)
    return f"({text})" if _level(formula) < level_min else text


def _level(formula: Formula) -> int:
    if isinstance(formula, Quantified):
        return -1
    if isinstance(formula, Binary):
        return CONNECTIVES.index(formula.connective)
    return len(CONNECTIVES)


def _set(collection: str | tuple[str, ...], space: str) -> str:
    return collection if isinstance(collection, str) else _braces(collection, space)


def _braces(elements: Sequence[str], space: str) -> str:
    return f"{{{f',{space}'.join(elements)}}}"
