"""Pieces of words count less than whole words."""

import numpy as np
import pytest

from constellation.coordizer.count_factorisation import count_windows
from constellation.coordizer.word_pieces import PIECE_EXPONENT, WordPieces
from constellation.errors import ConfigError

TOKENS = [b"ana", b"ly", b" sis", b"_", b"", "é".encode(), b"x1", b"1y"]
ANA, LY, SIS, LINE, END, ACCENT, X_ONE, ONE_Y = range(len(TOKENS))
PIECES = WordPieces.of(TOKENS)


def weights(*ids: int) -> list[float]:
    return (PIECES.weights(np.array(ids, dtype=np.uint16)) ** (-1 / PIECE_EXPONENT)).tolist()


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([], []),
        ([ANA], [1]),
        ([ANA, LY], [2, 2]),
        ([ANA, LY, SIS], [2, 2, 1]),  # a blank begins another word
        ([ANA, LINE, LY], [1, 1, 1]),
        ([ANA, ACCENT, LY, LINE, ANA, LY], [3, 3, 3, 1, 2, 2]),
        ([X_ONE, ANA], [1, 1]),  # a digit at the border
        ([ANA, ONE_Y, LY], [1, 2, 2]),
        ([ANA, END, LY], [1, 1, 1]),
    ],
)
def test_a_piece_counts_by_the_pieces_of_its_word(ids: list[int], expected: list[int]) -> None:
    assert weights(*ids) == pytest.approx(expected)


def test_without_split_words_counts_are_those_of_whole_tokens_to_the_bit() -> None:
    documents = [np.array([ANA, LINE, ONE_Y, SIS, LINE] * 70), np.array([LINE])]
    plain = count_windows(documents, vocab_size=len(TOKENS))
    counted = count_windows(documents, vocab_size=len(TOKENS), pieces=PIECES)
    assert counted.toarray().tobytes() == plain.toarray().tobytes()


def test_split_words_count_less_and_bursts_are_damped_still() -> None:
    document = np.array([ANA, LY, LINE] * 5)
    counts = count_windows([document], vocab_size=len(TOKENS), pieces=PIECES).toarray()[0]
    assert counts[LINE] == pytest.approx(5**0.8, rel=1e-6)
    assert counts[ANA] == counts[LY] == pytest.approx((5 * 2**-PIECE_EXPONENT) ** 0.8, rel=1e-6)


def test_two_vocabularies_are_refused() -> None:
    with pytest.raises(ConfigError, match="word pieces"):
        WordPieces(begins_V=PIECES.begins_V, ends_V=PIECES.ends_V[1:])
