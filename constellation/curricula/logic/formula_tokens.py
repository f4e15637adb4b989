"""Split the text of a puzzle into tokens with their positions."""

import re
from dataclasses import dataclass
from typing import Final

from constellation.curricula.logic.formula_tree import (
    ANSWERS,
    COMPARISONS,
    CONNECTIVES,
    DIGITS_MAX,
    GLYPHS,
    NAME_MAX,
    TEXT_MAX,
)
from constellation.curricula.logic.puzzle_errors import PuzzleSyntaxError, PuzzleTooLarge

END: Final = "end"
"""Kind of the token after the last character."""
NAME: Final = "name"
NUMBER: Final = "number"
GLYPH: Final = "glyph"

_SIGNS = "".join((*ANSWERS, *CONNECTIVES, *COMPARISONS)) + "¬∀∃∈:,?(){}+-"
_LETTERS = "A-Za-z\u0391-\u03a1\u03a3-\u03a9\u03b1-\u03c9"  # Latin and Greek
_TOKEN = re.compile(
    rf" +|(?P<name>[{_LETTERS}][{_LETTERS}0-9_]*)|(?P<number>[0-9]+)"
    rf"|(?P<glyph>[{GLYPHS}])|(?P<sign>[{re.escape(_SIGNS)}\n])"
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its kind (for a sign, the sign itself), its text and its place."""

    kind: str
    text: str
    position: int
    """Characters before the token, from 0."""


def tokens_of(text: str) -> list[Token]:
    """Return the tokens of a text, spaces left out, with a token of kind `END` last.

    Raises:
        PuzzleTooLarge: The text, a name or an integer is too long.
        PuzzleSyntaxError: A character belongs to no token.
    """
    if len(text) > TEXT_MAX:
        raise PuzzleTooLarge("characters of text", value=len(text), limit=TEXT_MAX)
    found: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise PuzzleSyntaxError(
                position, found=text[position], expected="a name, an integer or a sign of logic"
            )
        if match.lastgroup is not None:
            found.append(_token(match))
        position = match.end()
    return [*found, Token(END, "", len(text))]


def _token(match: re.Match[str]) -> Token:
    text, kind = match.group(), match.lastgroup
    limits = {NAME: ("characters of a name", NAME_MAX), NUMBER: ("digits", DIGITS_MAX)}
    if kind in limits and len(text) > limits[kind][1]:
        quantity, limit = limits[kind]
        raise PuzzleTooLarge(quantity, value=len(text), limit=limit)
    return Token(text if kind == "sign" else str(kind), text, match.start())
