"""Strip the white space at both ends of a text before its basin (simplex point) is computed.

White space at the two ends of a text is not evidence of the text's subject: a line break that a
terminal, a file or a form adds must not change a route. White space inside a text counts. This file
alone defines the rule, for queries, explanations of routes, basins of training documents and
held-out passages.

A text that is still being written has no end: during an answer, handoff and mixture compute basins
of the latest tokens without stripping.
"""

from collections.abc import Callable

from constellation.records import TokenArray


def evidence(text: str) -> str:
    """Return the text without the white space at its two ends."""
    return text.strip()


def evidence_tokens(
    text: str, tokens: TokenArray, encode: Callable[[str], TokenArray]
) -> TokenArray:
    """Return the tokens from which a text's basin is computed.

    Returns:
        `tokens` when neither end has white space, else the tokens of the stripped text: a text has
        the same basin, to the bit, with and without blanks and line breaks at its ends. Empty when
        the text is white space alone.
    """
    counted = evidence(text)
    return tokens if len(counted) == len(text) else encode(counted)
