"""Long pieces: merges are learned inside bounded ones, and text is encoded in windows."""

import random
from collections.abc import Callable

import pytest
from tokenizers import Tokenizer

from constellation.coordizer import long_pieces
from constellation.coordizer.bytelevel import bytes_to_token
from constellation.coordizer.count_merges import (
    PIECE_CHARS_MAX,
    cut_long_pieces,
    train_count_merges,
)
from constellation.coordizer.encoding import LONG_PIECE_CHARS, Encoder
from constellation.coordizer.long_pieces import WINDOW_CHARS, Token, merge_piece
from constellation.coordizer.phi_merges import count_pieces, train_phi_merges
from constellation.coordizer.vocabulary import from_tokenizer

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


@pytest.mark.parametrize("train", [train_count_merges, train_phi_merges])
@pytest.mark.parametrize("seed", range(8))
def test_a_piece_merged_in_windows_has_the_tokens_of_one_merged_at_once(
    train: Callable[[list[str], int], Tokenizer], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = random.Random(seed)
    monkeypatch.setattr(long_pieces, "WINDOW_CHARS", source.choice([64, 100, 200]))
    monkeypatch.setattr(long_pieces, "OVERLAP_TOKENS", source.choice([0, 1, 3]))
    letters = "ab"[: 1 + seed % 2] + "cdéé中"[: seed % 4]
    tokenizer = train(["".join(source.choices(letters, k=3000)) + " " + "a" * 500], 400)
    for _ in range(8):
        text = "".join(source.choices(letters, k=source.randrange(1, 1500)))
        piece = bytes_to_token(text.encode())
        merge = tokenizer.model.tokenize
        assert merge_piece(piece, merge) == [token.id for token in merge(piece)]


@pytest.mark.parametrize("kind", LETTERS)
def test_the_characters_merged_for_a_long_piece_grow_as_its_length(kind: str) -> None:
    tokenizer = train_count_merges([line(each, 3000) for each in LETTERS], 600)
    merged = 0

    def merge(piece: str) -> list[Token]:
        nonlocal merged
        merged += len(piece)
        return list(tokenizer.model.tokenize(piece))

    piece = bytes_to_token(line(kind, 12 * WINDOW_CHARS // 4).encode())
    merge_piece(piece, merge)
    assert len(piece) > 2 * WINDOW_CHARS
    assert merged <= 1.5 * len(piece)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LETTERS)
def test_an_encoder_gives_a_long_line_the_tokens_of_the_library(kind: str) -> None:
    tokenizer = train_count_merges([line(each, 3000) for each in LETTERS] + ["été today "], 600)
    encoder = Encoder(from_tokenizer(tokenizer, criterion="count"))
    long_line = line(kind, 3 * LONG_PIECE_CHARS)
    for text in (
        long_line,
        f"été {long_line}\n  {long_line} 12345 été",
        long_line[:LONG_PIECE_CHARS],
    ):
        wanted = tokenizer.encode(text).ids
        assert encoder.encode(text).tolist() == wanted
        assert [ids.tolist() for ids in encoder.encode_batch([text, "é", text])][2] == wanted
