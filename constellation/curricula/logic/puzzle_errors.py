"""Errors about one logic puzzle, below `ConstellationError`."""

from constellation.errors import ConstellationError


class PuzzleError(ConstellationError):
    """Base class of errors about one logic puzzle."""


class PuzzleSyntaxError(PuzzleError):
    """The text of a logic puzzle, or a part of this text, is not in the grammar.

    Attributes:
        position: Characters before the place of the mistake, from 0.
        found: Text at this place, shortened to 24 characters.
        expected: Description of the accepted texts.
    """

    def __init__(self, position: int, *, found: str, expected: str) -> None:
        shown = found if len(found) <= 24 else found[:21] + "..."
        super().__init__(
            f"at character {position} of the puzzle: expected {expected}; got {shown!r}"
        )
        self.position = position
        self.found = shown
        self.expected = expected


class PuzzleTooLarge(PuzzleError):
    """A logic puzzle is larger than the prover and the parser accept.

    Attributes:
        quantity: What is counted, such as "atoms".
        value: The number that the puzzle has.
        limit: Largest accepted number.
    """

    def __init__(self, quantity: str, *, value: int, limit: int) -> None:
        super().__init__(
            f"the puzzle has {value} {quantity}; the limit is {limit}, make the puzzle smaller"
        )
        self.quantity = quantity
        self.value = value
        self.limit = limit
