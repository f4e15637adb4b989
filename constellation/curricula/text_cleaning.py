"""Clean a text: plain newlines, no control characters, few blank lines, no trailing blanks."""

import re

# Everything below space except tab and newline, and DEL: never part of readable text.
_CONTROL = bytes(code for code in (*range(0x20), 0x7F) if chr(code) not in "\t\n")
_BLANKS = re.compile(r"\n{4,}")


def clean(text: str) -> str:
    """Return `text` with plain newlines, without control characters and trailing spaces.

    More than two blank lines in a row become two. A text with at least one visible character ends
    with one newline; other texts become empty. Cleaning a cleaned text changes nothing.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    # No byte of a longer UTF-8 sequence is below 0x80; bytes are deleted at the speed of memory.
    text = text.encode().translate(None, _CONTROL).decode()
    if " \n" in text or "\t\n" in text or text.endswith((" ", "\t")):
        # Line by line: a pattern for line ends would start again at every blank of a long run.
        text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    if "\n\n\n\n" in text:
        text = _BLANKS.sub("\n\n\n", text)
    text = text.strip("\n")
    return text + "\n" if text.strip() else ""
