"""Render puzzles in English: a legend of the symbols, each premise in words, and the question.

Words follow the tree exactly; parts of a sentence that are connectives stand in parentheses.
"""

from typing import Final, assert_never

from constellation.curricula.logic.formula_printer import (
    print_operand,
    print_premise,
    print_query,
)
from constellation.curricula.logic.formula_tree import (
    FALSE,
    TRUE,
    UNDETERMINED,
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
    Not,
    Predicate,
    Premise,
    Puzzle,
    Quantified,
    Query,
    SetDefinition,
    ValidSquare,
)

LEGEND: Final = {
    "¬": "not",
    "∧": "and",
    "∨": "or",
    "⊕": "either or, but not both",
    "→": "if then",
    "↔": "exactly if",
    "∀": "for every",
    "∃": "for some",
    "∈": "is in",
    "≤": "at most",
    "≥": "at least",
    "≠": "differs from",
    TRUE: "true",
    UNDETERMINED: "undetermined",
    FALSE: "false",
}
"""Symbol -> its meaning in words."""

_CONNECTIVES = {
    "∧": "{} and {}",
    "∨": "{} or {}",
    "⊕": "either {} or {}, but not both",
    "→": "if {} then {}",
    "↔": "{} exactly if {}",
}
_SIGNS = {
    "<": "is less than",
    ">": "is greater than",
    "≤": "is at most",
    "≥": "is at least",
    "=": "is the same as",
    "≠": "differs from",
}
_MARKS = {TRUE: "is true", UNDETERMINED: "is undetermined", FALSE: "is false"}


def scaffolded_english(puzzle: Puzzle) -> str:
    """Return the English rendering of a puzzle, which ends with a line break.

    The legend explains the symbols that the puzzle has and the three answers.
    """
    texts = [print_premise(premise) for premise in puzzle.premises]
    query = print_query(puzzle.query)
    used = "".join([*texts, query, *_MARKS])
    legend = "; ".join(f"{symbol} {words}" for symbol, words in LEGEND.items() if symbol in used)
    lines = [f"Symbols: {legend}."]
    for number, (text, premise) in enumerate(zip(texts, puzzle.premises, strict=True), start=1):
        lines.append(f"{number}. {text}: {premise_words(premise)}.")
    lines += [f"Question {query}: {query_words(puzzle.query)}?", "Answer:"]
    return "\n".join(lines) + "\n"


def premise_words(premise: Premise) -> str:
    """Return a premise as a sentence without a full stop."""
    match premise:
        case Asserted(formula):
            return formula_words(formula)
        case Chain(links):
            return " implies ".join(map(_part, links))
        case Marked(atom, mark):
            return f"{_part(atom)} {_MARKS[mark]}"
        case SetDefinition(name, elements):
            return f"{name} holds {_list(elements)}"
        case Constant(name):
            return f"there is {name}"
    assert_never(premise)


def query_words(query: Query) -> str:
    """Return a query as a question without a question mark."""
    if isinstance(query, Consistent):
        return "can all premises be true together"
    if isinstance(query, ValidSquare):
        return f"is {query.square} a square of the chess board"
    return f"is it true that {formula_words(query)}"


def formula_words(formula: Formula) -> str:
    """Return a formula in words; different formulas have different words."""
    match formula:
        case Atom(name):
            return name
        case Predicate(name, arguments):
            return f"{name} holds for {' with '.join(arguments)}"
        case Member(element, collection):
            return f"{element} is in {_set(collection)}"
        case Comparison(sign, left, right):
            return f"{print_operand(left)} {_SIGNS[sign]} {print_operand(right)}"
        case Not(body):
            return f"not {_part(body)}"
        case Binary(connective, left, right):
            return _CONNECTIVES[connective].format(_part(left), _part(right))
        case Quantified(quantifier, variable, domain, body):
            words = "every" if quantifier == "∀" else "some"
            within = "" if domain is None else f" in {_set(domain)}"
            return f"for {words} {variable}{within}, {_part(body)}"
    assert_never(formula)


def _part(formula: Formula) -> str:
    words = formula_words(formula)
    return f"({words})" if isinstance(formula, Binary | Quantified) else words


def _set(collection: str | tuple[str, ...]) -> str:
    return collection if isinstance(collection, str) else f"the set of {_list(collection)}"


def _list(elements: tuple[str, ...]) -> str:
    return " and ".join(elements) if elements else "nothing"
