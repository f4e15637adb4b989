"""Merge a long piece of text window by window, exactly as the library merges it at once.

The library keeps all pairs of a piece in one heap, so its time grows faster than the length. Here a
piece is merged in windows, in time that grows as the length. Tokens of two windows may stand side
by side when the last of one and the first of the next are what their joined string is merged to: a
row of tokens is what byte-level BPE makes of their string if, and only if, that holds for every two
neighbours, since a merge never looks further than the two tokens that it joins.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

WINDOW_CHARS = 16_384
"""Characters merged at once; a piece of at most this length is merged whole."""

OVERLAP_TOKENS = 8
"""Tokens at the end of a window that are merged again with what follows them."""

RETREATS_MAX = 64
"""Tokens given up before a window fits what is done; one more, and all is merged at once."""


class Token(Protocol):
    """What the library says of a token."""

    @property
    def id(self) -> int:
        """Return its number."""

    @property
    def value(self) -> str:
        """Return its string."""


Merge = Callable[[str], Sequence[Token]]
"""Merges a string at once."""


def merge_piece(piece: str, merge: Merge) -> list[int]:
    """Return the ids of the tokens that `merge` makes of a piece, merging a window at a time.

    Args:
        piece: In byte-level characters.
        merge: Of the vocabulary.
    """
    if len(piece) <= WINDOW_CHARS:
        return [token.id for token in merge(piece)]
    done: list[Token] = []
    start = furthest = num_retreats = 0
    while start < len(piece):
        window = piece[start : start + WINDOW_CHARS]
        tokens = merge(window)
        if done and not _fit(done[-1], tokens[0], merge):
            num_retreats += 1
            if num_retreats > RETREATS_MAX:
                return [token.id for token in merge(piece)]
            start -= len(done.pop().value)
            continue
        if start + len(window) < len(piece):
            tokens = tokens[: max(1, len(tokens) - OVERLAP_TOKENS)]
        done += tokens
        start += sum(len(token.value) for token in tokens)
        if start > furthest:
            furthest, num_retreats = start, 0
    return [token.id for token in done]


def _fit(left: Token, right: Token, merge: Merge) -> bool:
    """Return whether two tokens stay what they are when they meet."""
    joined = merge(left.value + right.value)
    return [token.id for token in joined] == [left.id, right.id]
