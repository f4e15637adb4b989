"""Byte-level BPE: bytes written as token strings, and the pattern that splits text into pieces.

Byte-level BPE writes each of the 256 bytes as one printable character, so that token strings are
valid text whatever bytes they stand for. `tokenizers` fixes that alphabet; it is derived here from
its rule, so that decoding needs no library call.

This file uses the library `tokenizers`; it uses no coordinates and reads no files.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

END_TEXT = "<|end|>"
"""Token string of the end-of-document token; in user text the characters have no special
meaning."""

NUM_BYTES = 256

SPLIT_PATTERN = (
    r"(?: |[^\s\p{L}\p{N}])?\p{L}+"
    r"| ?\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+(?:\n\s*(?!\S)|\n)?"
    r"|\s+(?!\S)"
    r"|\s+"
)
"""Pieces of text that no merge crosses: a word with the space or sign before the word; up to three
digits; signs, with the line break and indentation after the signs; white space without its last
character, which belongs to the next word. Keeping the line break with the signs makes source code
an eighth shorter than GPT-2's pattern does. No alternative backtracks more than one run of
characters once, so time is linear."""

ASCII_PIECE = re.compile(
    r"(?: |[^\sA-Za-z0-9])?[A-Za-z]+"
    r"| ?[0-9]{1,3}"
    r"| ?[^\sA-Za-z0-9]+(?:\n\s*(?!\S)|\n)?"
    r"|\s+(?!\S)"
    r"|\s+",
    re.ASCII,
)
"""`SPLIT_PATTERN` restricted to ASCII text, for the module `re`, which is several times faster."""


_RUN_STEP = 8
"""Steps in which a text is searched for long runs first."""

_LETTER, _SIGN = r"[^\W\d_]", r"(?:[^\w\s]|_)"


def has_long_run(text: str, chars_max: int) -> bool:
    """Return whether a text has more than `chars_max` letters, signs or blanks in a row."""
    return next(long_runs(text, chars_max), None) is not None


def long_runs(text: str, chars_max: int) -> Iterator[re.Match[str]]:
    """Yield the runs of letters, of signs and of blanks with more than `chars_max` characters.

    A piece of the split pattern with more characters lies inside such a run, except for one sign or
    blank before the run and a line break after the run.
    """
    # A run holds every eighth character of itself: few texts have to be searched in full.
    step = _RUN_STEP if chars_max > _RUN_STEP**2 else 1
    if step > 1 and not has_long_run(text[::step], (chars_max + 1) // step - 1):
        return iter(())
    kinds = (_LETTER, _SIGN, r"\s")
    # Match only at a run's start: a search from every character of a run would be quadratic.
    run = "|".join(f"(?<!{kind}){kind}{{{chars_max + 1},}}" for kind in kinds)
    return re.finditer(run, text)


def byte_characters() -> tuple[str, ...]:
    """Return the character that stands for each byte, in byte order.

    Printable Latin-1 characters stand for themselves; the other bytes take the code points from
    256 up, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    characters, spare = [], NUM_BYTES
    for byte in range(NUM_BYTES):
        characters.append(chr(byte if byte in printable else spare))
        spare += byte not in printable
    return tuple(characters)


_BYTE_OF_CHARACTER = {character: byte for byte, character in enumerate(byte_characters())}


def token_to_bytes(token: str) -> bytes:
    """Return the bytes that a token string stands for.

    Raises:
        KeyError: When a character is not one of `byte_characters()`.
    """
    return bytes([_BYTE_OF_CHARACTER[character] for character in token])


def bytes_to_token(data: bytes) -> str:
    """Return the token string that stands for `data`."""
    characters = byte_characters()
    return "".join([characters[byte] for byte in data])


def build_tokenizer(
    vocab: Mapping[str, int] | None = None,
    merges: Sequence[tuple[str, str]] = (),
    whole_strings: Sequence[str] = (),
) -> Tokenizer:
    """Build a byte-level BPE tokenizer.

    Args:
        vocab: Token string -> id, without the whole strings; None for an untrained tokenizer.
        merges: Pairs of token strings, in rank order.
        whole_strings: Extension tokens, matched before merges; they take the next ids in order.

    Returns:
        A tokenizer that treats the characters of `<|end|>` in text as ordinary text.
    """
    model = models.BPE() if vocab is None else models.BPE(dict(vocab), list(merges))
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    if vocab is not None:
        tokenizer.add_special_tokens([END_TEXT])
        tokenizer.add_tokens([AddedToken(text, normalized=False) for text in whole_strings])
    tokenizer.encode_special_tokens = True
    return tokenizer
