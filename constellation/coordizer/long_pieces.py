"""Apply BPE merges to a very long piece of text in windows, with the library's exact result.

The library keeps all pairs of a piece in one heap, so its time grows faster than the length;
merging in windows takes time proportional to the length. The last token of one window and the first
token of the next may stand side by side if merging their joined string gives these two tokens
again. A sequence of tokens is the byte-level BPE of its string if, and only if, this holds for
every two neighbours, since a merge depends on the two joined tokens alone.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

WINDOW_CHARS = 16_384
"""Characters merged at once; a piece of at most this length is merged in one call."""

OVERLAP_TOKENS = 8
"""Tokens at the end of a window that are discarded and merged again with the next window."""

RETREATS_MAX = 64
"""Most tokens taken back, one by one, before the next window fits; after more, the whole piece is
merged in one call."""


class Token(Protocol):
    """A token as the library `tokenizers` returns it."""

    @property
    def id(self) -> int:
        """Return the id of the token."""

    @property
    def value(self) -> str:
        """Return the string of the token."""


Merge = Callable[[str], Sequence[Token]]
"""Function that merges a whole string at once."""


def merge_piece(piece: str, merge: Merge) -> list[int]:
    """Return the token ids of a piece of byte-level characters, merged one window at a time."""
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
    """Return whether two neighbouring tokens stay unchanged when their joined string is merged."""
    joined = merge(left.value + right.value)
    return [token.id for token in joined] == [left.id, right.id]
