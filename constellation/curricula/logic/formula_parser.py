"""Parse formulas: a strict recursive descent over tokens, with a limit of depth.

From weak to strong: quantifiers (which reach as far to the right as possible), `↔`, `→` (to the
right), `∨`, `⊕`, `∧`, `¬`.
"""

from typing import Literal, NoReturn

from constellation.curricula.logic.formula_tokens import END, GLYPH, NAME, NUMBER, Token
from constellation.curricula.logic.formula_tree import (
    COMPARISONS,
    CONNECTIVES,
    DEPTH_MAX,
    Atom,
    Binary,
    Comparison,
    Formula,
    Glyph,
    Member,
    Name,
    Not,
    Operand,
    Predicate,
    Quantified,
    Total,
    depth,
)
from constellation.curricula.logic.puzzle_errors import PuzzleSyntaxError, PuzzleTooLarge

RESERVED = ("consistent", "valid")
"""Words of queries, which are no names."""
# A node takes a level for itself and one for its parentheses, so no tree within the limit of depth
# is refused when it is printed and read again.
_NESTING_MAX = 2 * DEPTH_MAX


class FormulaParser:
    """Reads formulas from a list of tokens, one after another."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._place = 0
        self._nesting = 0

    @property
    def token(self) -> Token:
        """The next token, which is not yet consumed."""
        return self._tokens[self._place]

    def peek(self, ahead: int = 1) -> Token:
        """Return a token after the next one; the last token is of kind `END`."""
        return self._tokens[min(self._place + ahead, len(self._tokens) - 1)]

    def advance(self) -> Token:
        """Consume the next token and return this token."""
        token = self.token
        self._place = min(self._place + 1, len(self._tokens) - 1)
        return token

    def expect(self, kind: str, expected: str) -> Token:
        """Consume a token of a kind.

        Raises:
            PuzzleSyntaxError: The next token is of another kind.
        """
        if self.token.kind != kind:
            self.fail(expected)
        return self.advance()

    def fail(self, expected: str) -> NoReturn:
        """Raise the error that something else was expected here."""
        token = self.token
        found = {END: "the end of the text", "\n": "the end of the line"}.get(
            token.kind, token.text
        )
        raise PuzzleSyntaxError(token.position, found=found, expected=expected)

    def formula(self) -> Formula:
        """Read one formula, as long as possible.

        Raises:
            PuzzleSyntaxError: There is no formula here.
            PuzzleTooLarge: The formula is deeper than `DEPTH_MAX` nodes.
        """
        read = self._binary(0)
        if (deep := depth(read)) > DEPTH_MAX:
            raise PuzzleTooLarge("nodes of depth", value=deep, limit=DEPTH_MAX)
        return read

    def chain(self) -> tuple[Formula, ...] | None:
        """Read a chain of three or more formulas joined by `→`, or nothing if there is none here.

        Raises:
            PuzzleSyntaxError: There is no formula here.
            PuzzleTooLarge: The chain is longer, or a formula deeper, than `DEPTH_MAX`.
        """
        start, level = self._place, CONNECTIVES.index("→") + 1
        links = [self._binary(level)]
        while self.token.kind == "→":
            self.advance()
            links.append(self._binary(level))
        if len(links) < 3 or self.token.kind in CONNECTIVES:
            self._place = start
            return None
        if (deep := max(len(links), 1 + max(map(depth, links)))) > DEPTH_MAX:
            raise PuzzleTooLarge("nodes of depth", value=deep, limit=DEPTH_MAX)
        return tuple(links)

    def _binary(self, level: int) -> Formula:
        """Read a formula of connectives of at least this level, by climbing the precedence."""
        left = self._unary()
        while self.token.kind in CONNECTIVES and CONNECTIVES.index(self.token.kind) >= level:
            connective = self.advance().kind
            place = CONNECTIVES.index(connective)
            self._enter()
            right = self._binary(place if connective == "→" else place + 1)
            self._nesting -= 1
            left = Binary(connective, left, right)
        return left

    def _unary(self) -> Formula:
        token = self.token
        if token.kind not in ("¬", "∀", "∃", "("):
            return self._leaf()
        self._enter()
        read: Formula
        if token.kind == "¬":
            self.advance()
            read = Not(self._unary())
        elif token.kind == "(":
            self.advance()
            read = self._binary(0)
            self.expect(")", "')' or a connective")
        else:
            read = self._quantified("∀" if token.kind == "∀" else "∃")
        self._nesting -= 1
        return read

    def _enter(self) -> None:
        self._nesting += 1
        if self._nesting > _NESTING_MAX:
            raise PuzzleTooLarge("levels of nesting", value=self._nesting, limit=_NESTING_MAX)

    def _quantified(self, quantifier: Literal["∀", "∃"]) -> Formula:
        self.advance()
        variable = self.name("a variable, such as x")
        if not variable[0].islower():
            self._place -= 1
            self.fail("a variable, which begins with a small letter")
        domain: str | tuple[str, ...] | None = None
        if self.token.kind == "∈":
            self.advance()
            domain = self.collection()
        self.expect(":", "':' or '∈' after the variable")
        return Quantified(quantifier, variable, domain, self._binary(0))

    def _leaf(self) -> Formula:
        if self.token.kind in (NUMBER, "-", GLYPH):
            if self.token.kind != GLYPH and self._integer_before_member():
                return self._member()
            return self._comparison()
        if self.token.kind != NAME:
            self.fail("a formula")
        following = self.peek().kind
        if following == "∈":
            return self._member()
        if following in COMPARISONS:
            return self._comparison()
        if not self.token.text[0].isupper():
            self.fail("a proposition, which begins with a capital letter")
        name = self.name("a formula")
        if self.token.kind != "(":
            return Atom(name)
        self.advance()
        return Predicate(name, self._elements(")"))

    def _integer_before_member(self) -> bool:
        return self.peek(2 if self.token.kind == "-" else 1).kind == "∈"

    def _member(self) -> Member:
        element = self._element()
        self.expect("∈", "'∈'")
        return Member(element, self.collection())

    def collection(self) -> str | tuple[str, ...]:
        """Read the name of a set, or a literal set."""
        if self.token.kind != "{":
            return self.name("a set: its name, or '{'")
        self.advance()
        if self.token.kind == "}":
            self.advance()
            return ()
        return self._elements("}", distinct=True)

    def _elements(self, closing: str, *, distinct: bool = False) -> tuple[str, ...]:
        found: list[str] = []
        while True:
            start = self._place
            element = self._element()
            if distinct and element in found:
                self._place = start
                self.fail("an element that the set does not hold yet")
            found.append(element)
            if self.token.kind != ",":
                self.expect(closing, f"',' or '{closing}'")
                return tuple(found)
            self.advance()

    def _element(self) -> str:
        if self.token.kind in (NUMBER, "-"):
            return str(self._integer())
        return self.name("the name of an element, or an integer")

    def name(self, expected: str) -> str:
        """Read a name that is no word of queries."""
        if self.token.text in RESERVED:
            self.fail(f"{expected} ('{self.token.text}' is reserved)")
        return self.expect(NAME, expected).text

    def _comparison(self) -> Comparison:
        left = self._operand("a name, an integer or a glyph")
        if self.token.kind not in COMPARISONS:
            self.fail("a comparison: one of " + " ".join(COMPARISONS))
        if isinstance(left, Glyph) and self.token.kind not in ("=", "≠"):
            self.fail("'=' or '≠', the comparisons of glyphs")
        sign = self.advance().kind
        if isinstance(left, Glyph) != (self.token.kind == GLYPH):
            self.fail("a glyph" if isinstance(left, Glyph) else "a name or an integer")
        return Comparison(sign, left, self._operand("a name or an integer"))

    def _operand(self, expected: str) -> Operand:
        if self.token.kind == GLYPH:
            return Glyph(self.advance().text)
        if self.token.kind == NAME:
            return Name(self.name(expected))
        if self.token.kind not in (NUMBER, "-"):
            self.fail(expected)
        parts = [self._integer()]
        while self.token.kind in ("+", "-"):
            parts.append(self._integer())
        return Total(tuple(parts))

    def _integer(self) -> int:
        sign = self.advance().kind if self.token.kind in ("+", "-") else "+"
        digits = self.expect(NUMBER, "an integer").text
        return -int(digits) if sign == "-" else int(digits)
