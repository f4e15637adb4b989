"""Turn a stream of tokens into text as it arrives, never half a character.

A token may end in the middle of a UTF-8 sequence; those bytes wait for the next token. What comes
out, joined, is exactly `Coordizer.decode_text` of all the tokens.
"""

import codecs
from collections.abc import Callable


class TextStream:
    """Collects the bytes of tokens and gives out the text that is complete so far."""

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        """Start at the beginning of a text.

        Args:
            token_bytes: Gives the bytes of a token id, such as `Coordizer.token_bytes`.
        """
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token_id: int) -> str:
        """Take one token; return the text it completes, which may be empty.

        Raises:
            InvalidRequest: When the id is outside the vocabulary.
        """
        return self._decoder.decode(self._token_bytes(token_id))

    def flush(self) -> str:
        """End the text: what is left of a broken character comes out as U+FFFD."""
        return self._decoder.decode(b"", final=True)
