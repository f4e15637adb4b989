"""Clean a text: plain newlines, no control characters, few blank lines, no trailing blanks."""

import re

# Everything below space except tab and newline, and DEL: never part of readable text.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_BLANKS = re.compile(r"\n{4,}")


def clean(text: str) -> str:
    """Return `text` with plain newlines, without control characters and trailing spaces.

    More than two blank lines in a row become two. A text with at least one visible character ends
    with one newline; other texts become empty. Cleaning a cleaned text changes nothing.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _CONTROL.sub("", text)
    # Line by line: a pattern for line ends would start again at every blank of a long run.
    text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    text = _BLANKS.sub("\n\n\n", text).strip("\n")
    return text + "\n" if text.strip() else ""
