"""Words that fall into pieces, because tokens were not learned from text like theirs.

A word that tokens were learned from is one token, or two. In other text it falls into many short
ones, each of which occurs wherever words fall to pieces: together they say less than so many whole
words do, yet each counts as one. So each piece of a word of m pieces counts m^-0.4.

Shapes: V tokens of the vocabulary, T tokens of a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from constellation.errors import ConfigError

PIECE_EXPONENT: Final = 0.4
"""0 counts every piece, 1 every word once. Chosen on development text (docs/log.md)."""

_ASCII_END: Final = 128


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WordPieces:
    """Which tokens of a vocabulary begin and end with a letter."""

    begins_V: NDArray[np.bool_]
    """Whether the first byte is a letter's."""
    ends_V: NDArray[np.bool_]
    """Whether the last byte is a letter's."""

    def __post_init__(self) -> None:
        """Refuse two vocabularies."""
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
        """Return what each token of a text counts: m^-0.4 for a piece of a word of m, in (0, 1].

        A token is a piece of the same word as the token before it where that one ends with a letter
        and this one begins with one.

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
