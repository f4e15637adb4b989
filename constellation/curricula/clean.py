"""Bring a text into one plain form: line ends, control characters, blank lines."""

import re

# Everything below space except tab and newline, and DEL: never part of readable text.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_BLANKS = re.compile(r"\n{4,}")


def clean(text: str) -> str:
    """Return `text` with plain newlines and without control characters and trailing spaces.

    Runs of blank lines longer than two become two; one newline ends a text that has any other
    character. Cleaning twice changes nothing more.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _CONTROL.sub("", text)
    # By line: a pattern for the ends of lines begins anew at every blank of a long run.
    text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    text = _BLANKS.sub("\n\n\n", text).strip("\n")
    return text + "\n" if text.strip() else ""
