"""Decode a stream of token ids to text token by token, without splitting a UTF-8 character.

A token may end in the middle of a UTF-8 sequence; the incomplete bytes are kept until the next
token. All returned texts joined equal `Coordizer.decode_text` of all tokens.
"""

import codecs
from collections.abc import Callable


class TextStream:
    """Buffers the bytes of tokens and returns the text that is complete so far."""

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        """Start at the beginning of a text; `token_bytes` is such as `Coordizer.token_bytes`."""
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token_id: int) -> str:
        """Add one token; return the text that the token completes, which may be empty.

        Raises:
            InvalidRequest: When the id is outside the vocabulary.
        """
        return self._decoder.decode(self._token_bytes(token_id))

    def flush(self) -> str:
        """End the text; an incomplete character at the end is returned as U+FFFD."""
        return self._decoder.decode(b"", final=True)
