"""Train BPE merges by pair counts, through the Rust library `tokenizers`.

The vocabulary is the end token (id 0), the 256 bytes, then one token per merge in rank order.

This file works on text and merges; it uses no coordinates and reads no files.
"""

from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer, trainers

from constellation.coordizer.bytelevel import (
    END_TEXT,
    NUM_BYTES,
    build_tokenizer,
    byte_characters,
    long_runs,
)
from constellation.errors import ConfigError

VOCAB_SIZE_MIN = NUM_BYTES + 1
"""Smallest vocabulary: the end token and every byte, without a merge."""

PAIR_COUNT_MIN = 2
"""Least occurrences of a pair that may be merged."""

PIECE_CHARS_MAX = 256
"""Most characters of a piece in which merges are learned: a trainer's time grows as the length of a
piece times the length of the text. Encoding has no such limit."""


def train_count_merges(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train a tokenizer by merging the most frequent neighbours until the vocabulary is full.

    Args:
        texts: Training texts; no merge crosses from one text to the next.
        vocab_size: Most tokens, at least 257. Short texts give fewer tokens.

    Returns:
        A trained tokenizer; the same texts in the same order give the same tokenizer.

    Raises:
        ConfigError: When `vocab_size` is below 257.
    """
    check_vocab_size(vocab_size)
    tokenizer = build_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=PAIR_COUNT_MIN,
        special_tokens=[END_TEXT],
        initial_alphabet=list(byte_characters()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(cut_long_pieces(texts), trainer)
    return tokenizer


def cut_long_pieces(texts: Iterable[str]) -> Iterator[str]:
    """Yield the texts, cut where letters, signs or blanks in a row exceed `PIECE_CHARS_MAX`."""
    for text in texts:
        start = 0
        for run in long_runs(text, PIECE_CHARS_MAX):
            for end in range(run.start() + PIECE_CHARS_MAX, run.end(), PIECE_CHARS_MAX):
                yield text[start:end]
                start = end
        yield text[start:]


def check_vocab_size(vocab_size: int) -> None:
    """Raise `ConfigError` when a vocabulary size has no room for the end token and every byte."""
    if vocab_size < VOCAB_SIZE_MIN:
        raise ConfigError(
            f"vocab_size is {vocab_size}; the end token and 256 bytes need {VOCAB_SIZE_MIN}"
        )
