"""Parse puzzles: premises and one query, in line form or in compact form.

The parser is strict: what it does not accept is refused with the position and what was expected.
Blanks between tokens do not count.
"""

import re

from constellation.curricula.logic.formula_parser import FormulaParser
from constellation.curricula.logic.formula_tokens import END, NAME, Token, tokens_of
from constellation.curricula.logic.formula_tree import (
    ANSWERS,
    Asserted,
    Atom,
    Chain,
    Consistent,
    Constant,
    Formula,
    Marked,
    Member,
    Predicate,
    Premise,
    Puzzle,
    Query,
    SetDefinition,
    ValidSquare,
)
from constellation.curricula.logic.puzzle_errors import PuzzleSyntaxError

SQUARE_TEXT = "[A-Za-z0-9]{1,8}"
"""Pattern of the texts that the query `?valid:` accepts, valid squares or not."""
_SQUARE_QUERY = re.compile(rf"\? *valid *: *(?P<square>{SQUARE_TEXT}) *\n?\Z")


def parse_puzzle(text: str) -> Puzzle:
    """Parse either surface: a text with a line break before the query is in line form.

    Raises:
        PuzzleSyntaxError: The text is no puzzle.
        PuzzleTooLarge: The text is longer than 4,096 characters, or a formula deeper than 64 nodes.
    """
    return parse_lines(text) if "\n" in text.rstrip("\n") else parse_compact(text)


def parse_lines(text: str) -> Puzzle:
    """Parse the line form: one premise a line, the query last, at most one line break at the end.

    Raises:
        PuzzleSyntaxError: The text is no puzzle in line form.
        PuzzleTooLarge: The text or a formula is too large.
    """
    return _parse(text, "\n")


def parse_compact(text: str) -> Puzzle:
    """Parse the compact form: premises separated by commas, and the query after `?`.

    Raises:
        PuzzleSyntaxError: The text is no puzzle in compact form.
        PuzzleTooLarge: The text or a formula is too large.
    """
    return _parse(text, ",")


def parse_formula(text: str) -> Formula:
    """Parse a text that is one formula.

    Raises:
        PuzzleSyntaxError: The text is no formula.
        PuzzleTooLarge: The text or the formula is too large.
    """
    parser = FormulaParser(tokens_of(text))
    read = parser.formula()
    parser.expect(END, "a connective or the end of the text")
    return read


def _parse(text: str, separator: str) -> Puzzle:
    parser = FormulaParser(tokens_of(text))
    premises: list[Premise] = []
    positions: list[int] = []
    while parser.token.kind != "?":
        positions.append(parser.token.position)
        premises.append(_premise(parser))
        if separator == "\n":
            parser.expect("\n", "a connective or the end of the line")
        elif parser.token.kind == ",":
            parser.advance()
            if parser.token.kind == "?":
                parser.fail("a premise after ','")
        elif parser.token.kind != "?":
            parser.fail("a connective, ',' or '?'")
    _check_sets(premises, positions)
    query = _query(parser, text)
    return Puzzle(tuple(premises), query)


def _premise(parser: FormulaParser) -> Premise:
    token = parser.token
    if token.kind == NAME and parser.peek().kind == "=" and parser.peek(2).kind == "{":
        return _set_definition(parser, token)
    if token.kind == NAME and token.text[0].islower() and parser.peek().kind in (",", "?", "\n"):
        return Constant(parser.name("a constant"))
    links = parser.chain()
    if links is not None:
        return Chain(links)
    formula = parser.formula()
    if parser.token.kind != ":":
        return Asserted(formula)
    if not isinstance(formula, Atom | Predicate | Member):
        parser.fail("a connective or the end of the premise; only atoms are marked")
    parser.advance()
    if parser.token.kind not in ANSWERS:
        parser.fail("a mark: one of " + " ".join(ANSWERS))
    return Marked(formula, parser.advance().kind)


def _set_definition(parser: FormulaParser, token: Token) -> SetDefinition:
    name = parser.name("the name of a set")
    parser.advance()
    elements = parser.collection()
    assert isinstance(elements, tuple), token
    return SetDefinition(name, elements)


def _query(parser: FormulaParser, text: str) -> Query:
    mark = parser.expect("?", "a premise or '?'")
    if parser.token.text == "valid":
        match = _SQUARE_QUERY.match(text, mark.position)
        if match is None:
            position = parser.peek().position
            raise PuzzleSyntaxError(
                position,
                found=text[position : position + 12] or "the end of the text",
                expected="':' and 1 to 8 letters and digits, such as valid:e4",
            )
        return ValidSquare(match["square"])
    query: Query
    if parser.token.text == "consistent":
        parser.advance()
        query = Consistent()
    else:
        query = parser.formula()
    if parser.token.kind == "\n":
        parser.advance()
    parser.expect(END, "a connective or the end of the text")
    return query


def _check_sets(premises: list[Premise], positions: list[int]) -> None:
    seen: set[str] = set()
    for premise, position in zip(premises, positions, strict=True):
        if isinstance(premise, SetDefinition):
            if premise.name in seen:
                raise PuzzleSyntaxError(
                    position, found=premise.name, expected="one definition of each set"
                )
            seen.add(premise.name)
