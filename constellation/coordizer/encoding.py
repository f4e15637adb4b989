"""Encode text or arbitrary bytes to token ids, so that decoding returns the exact input.

The library `tokenizers` accepts text only. Bytes that are not UTF-8 become byte tokens, one token
per byte; the text between such bytes is encoded as usual, so the bytes of all tokens join to the
input.

Merges never cross the pieces that the split pattern cuts, and most pieces are common words. ASCII
text is therefore split here, and the tokens of known pieces are looked up in a cache, which takes a
third of the library's time. Unknown pieces, and all other text, are encoded by the library; the
result is the same.

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
"""Matches bytes that are not UTF-8, in the form that `surrogateescape` decodes them to."""

_TOKEN_CHARACTERS = dict(enumerate(byte_characters()[:128]))
"""ASCII code point -> the character that stands for that byte in token strings."""

_SLAB_PIECES = 16_384
"""Most pieces looked up at once; bounds the temporary memory of encoding a long text."""

_SLAB_TEXTS = 256
"""Most texts that the library encodes at once; bounds the temporary memory of encoding a corpus."""

LONG_PIECE_CHARS = 4096
"""Most letters, signs or blanks in a row before a text is merged piece by piece, and its longest
pieces window by window; the tokens are the same."""

_CACHE_BYTES_MAX = 4 * 2**20
"""Most bytes of cached pieces and tokens by default; a larger cache is cleared down to the
vocabulary's own pieces. Python takes about eight times the memory."""


class Encoder:
    """Encode text or bytes to token ids by a vocabulary's merges; threads may share an encoder."""

    def __init__(self, vocabulary: Vocabulary, *, cache_bytes_max: int | None = None) -> None:
        """Build an encoder with a cache of so many bytes; None means the default, 4 MiB."""
        self._cache_bytes_max = cache_bytes_max
        self._tokenizer = vocabulary.build()
        self._whole_strings = vocabulary.whole_strings
        self._model = self._tokenizer.model
        self._byte_ids = tuple(vocabulary.tokens.index(char) for char in byte_characters())
        self._common = _single_token_pieces(vocabulary)
        self._cache = dict(self._common)
        self._cache_bytes = 0

    def encode(self, text: str | bytes) -> TokenArray:
        """Return the token ids of a text, shape (T,); lone surrogates are encoded as bytes."""
        valid = _valid_text(text)
        if valid is not None:
            return self._encode_valid(valid)
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        return np.array(list(self._ids_of_invalid(data)), dtype=np.int32)

    def encode_batch(self, texts: Sequence[str | bytes]) -> list[TokenArray]:
        """Return the token ids of each text, as `encode` does; the library uses all CPU cores."""
        valid = [_valid_text(text) for text in texts]
        encoded = self._library_tokens([v for v in valid if v is not None and self._is_plain(v)])
        return [
            next(encoded) if v is not None and self._is_plain(v) else self.encode(text)
            for text, v in zip(texts, valid, strict=True)
        ]

    def _is_plain(self, text: str) -> bool:
        """Return whether the library encodes the whole text, without cache or piecewise merging."""
        return not self._can_look_up(text) and not self._has_long_piece(text)

    def _library_tokens(self, texts: Sequence[str]) -> Iterator[TokenArray]:
        # The library's encoding of a text takes 19 bytes per byte of text.
        for start in range(0, len(texts), _SLAB_TEXTS):
            for encoding in self._tokenizer.encode_batch_fast(texts[start : start + _SLAB_TEXTS]):
                yield np.array(encoding.ids, dtype=np.int32)

    def _has_long_piece(self, text: str) -> bool:
        # Only the library matches whole strings, and it does so before the text is split.
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
        # A local reference: clearing the cache binds a new dictionary, and this one only grows.
        cache = self._cache
        try:
            return b"".join(map(cache.__getitem__, pieces))
        except KeyError:
            self._add_to_cache(cache, {piece for piece in pieces if piece not in cache})
            return b"".join(map(cache.__getitem__, pieces))

    def _add_to_cache(self, cache: dict[str, bytes], pieces: Iterable[str]) -> None:
        """Merge ASCII pieces and add their tokens to the cache; the pieces are split already."""
        for piece in pieces:
            ids = merge_piece(piece.translate(_TOKEN_CHARACTERS), self._model.tokenize)
            cache[piece] = array("i", ids).tobytes()
            self._cache_bytes += len(piece) + len(cache[piece])
        if self._cache_bytes > (self._cache_bytes_max or _CACHE_BYTES_MAX):
            self._cache, self._cache_bytes = dict(self._common), 0

    def _ids_of_invalid(self, data: bytes) -> Iterator[int]:
        parts = _INVALID_RUN.split(data.decode("utf-8", "surrogateescape"))
        for index, part in enumerate(parts):
            if index % 2:
                raw = part.encode("utf-8", "surrogateescape")
                yield from (self._byte_ids[byte] for byte in raw)
            elif part:
                yield from self._encode_valid(part).tolist()


def _single_token_pieces(vocabulary: Vocabulary) -> dict[str, bytes]:
    """Return the initial cache: a piece that is a token encodes to that token alone.

    Merges inside a string do not depend on the text around the string, so a string that became one
    token once always does.
    """
    num_merged = len(vocabulary.tokens) - len(vocabulary.whole_strings)
    tokens = enumerate(vocabulary.token_bytes()[1:num_merged], start=1)
    return {
        piece.decode(): np.int32(token_id).tobytes()
        for token_id, piece in tokens
        if piece.isascii()
    }


def _valid_text(text: str | bytes) -> str | None:
    """Return the text when it can be written as UTF-8, else None."""
    try:
        if isinstance(text, bytes):
            return text.decode()
        text.encode()
    except UnicodeError:
        return None
    return text
