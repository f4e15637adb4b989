"""Encode text or bytes exactly, whatever the bytes are, and fast.

`tokenizers` takes text only. Runs of bytes that are not UTF-8 become byte tokens, one per byte; the
text between them is encoded as usual, so the bytes of the tokens always join to the input.

Merges never cross the pieces that the split pattern cuts, and most pieces of a text are common
words: ASCII text is cut here and the tokens of pieces met before are looked up, which takes a third
of the library's time. What is new, and all other text, goes to the library; the result is the same.

Shapes: T tokens of one text.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from constellation.coordizer.bytelevel import ASCII_PIECE, byte_characters, has_long_run
from constellation.coordizer.long_pieces import merge_piece
from constellation.coordizer.vocabulary import Vocabulary
from constellation.records import TokenArray

_INVALID_RUN = re.compile("([\udc80-\udcff]+)")
"""Bytes that are not UTF-8, as `surrogateescape` writes them."""

_TOKEN_CHARACTERS = dict(enumerate(byte_characters()[:128]))
"""ASCII code point -> the character that stands for that byte in token strings."""

_SLAB_PIECES = 16_384
"""Pieces looked up at once: bounds the memory that a long text takes on its way."""

_SLAB_TEXTS = 256
"""Texts that the library encodes at once: bounds the memory that a corpus takes on its way."""

LONG_PIECE_CHARS = 4096
"""Text with a run of more letters, signs or blanks has its pieces merged one by one, the longest
in windows, which is exact, too."""

_REMEMBERED_BYTES_MAX = 4 * 2**20
"""Bytes of pieces and tokens remembered; beyond it they are forgotten and learnt again."""


class Encoder:
    """Text or bytes to token ids, by the merges of a vocabulary. Threads may share one."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._tokenizer = vocabulary.build()
        self._whole_strings = vocabulary.whole_strings
        self._model = self._tokenizer.model
        self._byte_ids = tuple(vocabulary.tokens.index(char) for char in byte_characters())
        self._common = _single_token_pieces(vocabulary)
        self._remembered = dict(self._common)
        self._remembered_bytes = 0

    def encode(self, text: str | bytes) -> TokenArray:
        """Return the token ids of a text, shape (T,); lone surrogates are encoded as bytes."""
        valid = _valid_text(text)
        if valid is not None:
            return self._encode_valid(valid)
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        return np.array(list(self._ids_of_invalid(data)), dtype=np.int32)

    def encode_batch(self, texts: Sequence[str | bytes]) -> list[TokenArray]:
        """Return `encode` of each text; what the library encodes is shared out to all cores."""
        valid = [_valid_text(text) for text in texts]
        encoded = self._library_tokens([v for v in valid if v is not None and self._is_plain(v)])
        return [
            next(encoded) if v is not None and self._is_plain(v) else self.encode(text)
            for text, v in zip(texts, valid, strict=True)
        ]

    def _is_plain(self, text: str) -> bool:
        """Return whether the library encodes the text as a whole."""
        return not self._can_look_up(text) and not self._has_long_piece(text)

    def _library_tokens(self, texts: Sequence[str]) -> Iterator[TokenArray]:
        # The library's own form of an encoded text takes 19 bytes per byte of text.
        for start in range(0, len(texts), _SLAB_TEXTS):
            for encoding in self._tokenizer.encode_batch_fast(texts[start : start + _SLAB_TEXTS]):
                yield np.array(encoding.ids, dtype=np.int32)

    def _has_long_piece(self, text: str) -> bool:
        # Whole strings are matched before pieces are cut, which only the library does.
        if len(text) <= LONG_PIECE_CHARS or self._whole_strings:
            return False
        return has_long_run(text, LONG_PIECE_CHARS)

    def _can_look_up(self, text: str) -> bool:
        return text.isascii() and not any(whole in text for whole in self._whole_strings)

    def _encode_valid(self, text: str) -> TokenArray:
        if self._can_look_up(text):
            pieces = ASCII_PIECE.findall(text)
            starts = range(0, len(pieces), _SLAB_PIECES)
            slabs = [self._look_up(pieces[start : start + _SLAB_PIECES]) for start in starts]
            return np.frombuffer(bytearray().join(slabs), dtype=np.int32)
        if self._has_long_piece(text):
            pieces = self._tokenizer.pre_tokenizer.pre_tokenize_str(text)
            merge = self._model.tokenize
            ids = [i for piece, _ in pieces for i in merge_piece(piece, merge)]
            return np.array(ids, dtype=np.int32)
        # The batch call skips character offsets, which costs a quarter less than `encode`.
        return np.array(self._tokenizer.encode_batch_fast([text])[0].ids, dtype=np.int32)

    def _look_up(self, pieces: Sequence[str]) -> bytes:
        """Return the tokens of pieces in order, as the bytes of an int32 array."""
        # Held here because forgetting puts another dictionary in its place; this one only grows.
        remembered = self._remembered
        try:
            return b"".join(map(remembered.__getitem__, pieces))
        except KeyError:
            self._learn(remembered, {piece for piece in pieces if piece not in remembered})
            return b"".join(map(remembered.__getitem__, pieces))

    def _learn(self, remembered: dict[str, bytes], pieces: Iterable[str]) -> None:
        """Add the tokens of ASCII pieces; they are cut already, so the merges alone are asked."""
        for piece in pieces:
            ids = merge_piece(piece.translate(_TOKEN_CHARACTERS), self._model.tokenize)
            remembered[piece] = array("i", ids).tobytes()
            self._remembered_bytes += len(piece) + len(remembered[piece])
        if self._remembered_bytes > _REMEMBERED_BYTES_MAX:
            self._remembered, self._remembered_bytes = dict(self._common), 0

    def _ids_of_invalid(self, data: bytes) -> Iterator[int]:
        parts = _INVALID_RUN.split(data.decode("utf-8", "surrogateescape"))
        for index, part in enumerate(parts):
            if index % 2:
                raw = part.encode("utf-8", "surrogateescape")
                yield from (self._byte_ids[byte] for byte in raw)
            elif part:
                yield from self._encode_valid(part).tolist()


def _single_token_pieces(vocabulary: Vocabulary) -> dict[str, bytes]:
    """Return what is known without asking: a piece that is a token encodes to that token alone.

    No merge inside a string sees what is around it, so what once became a token always does.
    """
    num_merged = len(vocabulary.tokens) - len(vocabulary.whole_strings)
    tokens = enumerate(vocabulary.token_bytes()[1:num_merged], start=1)
    return {
        piece.decode(): np.int32(token_id).tobytes()
        for token_id, piece in tokens
        if piece.isascii()
    }


def _valid_text(text: str | bytes) -> str | None:
    """Return the text when it is proper UTF-8, else None."""
    try:
        if isinstance(text, bytes):
            return text.decode()
        text.encode()
    except UnicodeError:
        return None
    return text
