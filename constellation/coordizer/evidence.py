"""Which part of a text says where the text lies.

White space at the two ends of a text is no evidence: a line break that a terminal, a file or a
form adds must not move a route. White space inside a text counts as it stands. This file is the
only place that knows the rule; it is used for queries, for explanations of a route, for the basins
of training documents and for held-out passages alike.

Text that is being written has no end yet: while an answer grows, handoff and mixture fold the
latest tokens as they are.
"""

from collections.abc import Callable

from constellation.records import TokenArray


def evidence(text: str) -> str:
    """Return the text without the white space at its two ends."""
    return text.strip()


def evidence_tokens(
    text: str, tokens: TokenArray, encode: Callable[[str], TokenArray]
) -> TokenArray:
    """Return the tokens that a text's basin is folded from.

    Args:
        text: The whole text.
        tokens: All tokens of `text`.
        encode: Turns a text into its tokens.

    Returns:
        `tokens` where no white space is at either end, else the tokens of the text without it: a
        text has the same basin, to the bit, with and without blanks and line breaks at its ends.
        Empty when the text is white space alone.
    """
    counted = evidence(text)
    return tokens if len(counted) == len(text) else encode(counted)
