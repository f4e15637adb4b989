"""Merges are learned inside bounded pieces, so that one line of any length takes linear time."""

import random

import pytest

from constellation.coordizer.merges import PIECE_CHARS_MAX, cut_long_pieces, train_count_merges
from constellation.coordizer.phi_merges import count_pieces, train_phi_merges

LETTERS = {
    "blanks": " ",
    "one letter": "a",
    "letters": "abcdefghij",
    "signs": "+-*/=",
    "Chinese": "".join(map(chr, range(0x4E00, 0x4F00))),
    "emoji": "".join(map(chr, range(0x1F300, 0x1F400))),
}


def line(kind: str, count: int) -> str:
    return "".join(random.Random(kind).choices(LETTERS[kind], k=count))


@pytest.mark.parametrize("kind", LETTERS)
def test_no_piece_that_merges_are_learned_in_is_over_the_limit(kind: str) -> None:
    text = line(kind, 10 * PIECE_CHARS_MAX + 3)
    parts = list(cut_long_pieces([text]))
    assert "".join(parts) == text
    assert max(map(len, parts)) <= PIECE_CHARS_MAX
    # In bytes: a character of these has at most four.
    assert max(map(len, count_pieces([text]))) <= 4 * PIECE_CHARS_MAX


def test_text_of_ordinary_words_is_left_whole() -> None:
    texts = ["word " * 10_000, "x" * PIECE_CHARS_MAX, "今天天气很好。" * 1000, "", "-" * 79 + "\n"]
    assert list(cut_long_pieces(texts)) == texts


@pytest.mark.parametrize("train", [train_count_merges, train_phi_merges])
def test_merges_of_a_long_line_are_those_of_its_pieces(train: object) -> None:
    text = line("letters", 5000)
    pieces = [text[at : at + PIECE_CHARS_MAX] for at in range(0, len(text), PIECE_CHARS_MAX)]
    assert train([text], 400).get_vocab() == train(pieces, 400).get_vocab()  # type: ignore[operator]
