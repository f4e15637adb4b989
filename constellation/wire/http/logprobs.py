r"""Log-probabilities of tokens as OpenAI's two endpoints give them.

A token is bytes and may hold a part of a character, so its text is no name for it: chat names the
bytes beside the text, completions spell them out as OpenAI does, `bytes:\xf0\x9f`.
"""

import codecs
from collections.abc import Sequence
from typing import Any

from constellation.records import Alternative, TokenLogprob

Json = dict[str, Any]


def chat_logprobs(logprobs: Sequence[TokenLogprob]) -> Json:
    """Return the log-probabilities of a chat's answer."""
    content = [
        {**_token(each), "top_logprobs": [_token(other) for other in each.top]} for each in logprobs
    ]
    return {"content": content, "refusal": None}


def _token(token: Alternative) -> Json:
    text = token.text.decode(errors="replace")
    return {"token": text, "logprob": token.logprob, "bytes": list(token.text)}


class CompletionLogprobs:
    """The log-probabilities of one completion, told in one part or in several."""

    def __init__(self) -> None:
        self._offsets = Offsets()

    def take(self, logprobs: Sequence[TokenLogprob], *, num_characters: int | None) -> Json:
        """Return the object for the tokens that come next.

        Args:
            logprobs: One for each of these tokens.
            num_characters: Length of the whole text, when it is known: tokens of a stop string
                that the text ends before are placed at its end. None while the text goes on.
        """
        offsets = [self._offsets.take(each.text) for each in logprobs]
        if num_characters is not None:
            offsets = [min(offset, num_characters) for offset in offsets]
        return {
            "tokens": [token_name(each.text) for each in logprobs],
            "token_logprobs": [each.logprob for each in logprobs],
            "top_logprobs": [_named(each.top) for each in logprobs],
            "text_offset": offsets,
        }


class Offsets:
    """Where tokens begin in the text that their bytes make together, in characters."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._num_complete = 0

    def take(self, data: bytes) -> int:
        """Return the index of the character that holds the first byte of the token that comes next.

        A character that is spread over tokens has one index for all of them; of a token without
        bytes this is where the text goes on.
        """
        if not data:
            return self._num_complete
        # The first byte alone: it shows whether what was left of a character before is complete
        # now, goes on, or turned out to be broken and has become a character of its own (U+FFFD).
        num_opened = len(self._decoder.decode(data[:1]))
        is_open = bool(self._decoder.getstate()[0])
        offset = self._num_complete + num_opened - (not is_open)
        self._num_complete += num_opened + len(self._decoder.decode(data[1:]))
        return offset


def token_name(data: bytes) -> str:
    """Return a token's text, or its bytes spelled out where they are no whole characters."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _spelled_out(data)


def _spelled_out(data: bytes) -> str:
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def _named(alternatives: Sequence[Alternative]) -> dict[str, float]:
    """Return name -> log-probability, with as many names as there are alternatives."""
    named: dict[str, float] = {}
    for each in alternatives:
        name = token_name(each.text)
        if name in named:  # tokens without text, or text that looks like bytes spelled out
            name = f"{_spelled_out(each.text)} (token {each.token})"
        named[name] = each.logprob
    return named
