"""Weigh the pieces of words that a vocabulary was not learned from, for token counts.

A word of the text that a vocabulary was learned from is one token or two. A word of other text
becomes many short tokens, each of which occurs in many other words too: together they carry less
evidence than as many whole words. So each piece of a word of m pieces counts m^-0.4 in place of 1.

Shapes: V tokens of the vocabulary, T tokens of a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from constellation.errors import ConfigError

PIECE_EXPONENT: Final = 0.4
"""Exponent: 0 counts every piece as 1, 1 counts every word as 1. Chosen on development text
(docs/log.md)."""

_ASCII_END: Final = 128


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WordPieces:
    """For every token of a vocabulary, whether the token begins and ends with a letter."""

    begins_V: NDArray[np.bool_]
    """Whether the first byte is a letter's."""
    ends_V: NDArray[np.bool_]
    """Whether the last byte is a letter's."""

    def __post_init__(self) -> None:
        """Check that both arrays are of one vocabulary."""
        if self.begins_V.shape != self.ends_V.shape or self.begins_V.ndim != 1:
            raise ConfigError(
                f"word pieces of {self.begins_V.shape} and {self.ends_V.shape} tokens; need (V,)"
            )

    @classmethod
    def of(cls, token_bytes: Sequence[bytes]) -> "WordPieces":
        """Return which of these tokens begin and end with a letter.

        Args:
            token_bytes: The bytes of every token. Bytes from 128 on, which write all letters but
                those of ASCII, are taken for letters.
        """
        return cls(
            begins_V=np.array([_is_letter(each[:1]) for each in token_bytes], dtype=np.bool_),
            ends_V=np.array([_is_letter(each[-1:]) for each in token_bytes], dtype=np.bool_),
        )

    def weights(self, ids_T: NDArray[Any]) -> NDArray[np.float64]:
        """Return the weight of each token of a text: m^-0.4 for a piece of a word of m pieces.

        Two neighbouring tokens are pieces of one word when the first token ends with a letter and
        the second token begins with a letter. Weights lie in (0, 1].

        Args:
            ids_T: Token ids of the text, each in [0, V).
        """
        is_inside_T = np.zeros(ids_T.size, dtype=np.bool_)
        is_inside_T[1:] = self.ends_V[ids_T[:-1]] & self.begins_V[ids_T[1:]]
        word_T = np.cumsum(~is_inside_T) - 1
        weight_T: NDArray[np.float64] = np.bincount(word_T)[word_T] ** -PIECE_EXPONENT
        return weight_T


def _is_letter(byte: bytes) -> bool:
    return byte >= bytes([_ASCII_END]) or byte.isalpha()
