"""Parse one line of a JSON-lines file, with the same errors for all readers."""

import json
from typing import Any

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class BadLine(Exception):
    """A line is not JSON, or its content cannot be used; the message gives the reason."""


def parse_line(raw: bytes) -> Any:
    """Return the JSON value of a line of UTF-8; a byte-order mark is ignored.

    Raises:
        BadLine: The line is not UTF-8, not JSON, nested too deeply, or holds an integer of too
            many digits.
    """
    try:
        return json.loads(raw.removeprefix(_BYTE_ORDER_MARK).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8 at byte {error.start}") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadLine(f"not JSON: {error}") from error
    except ValueError as error:  # Python's limit of digits, whose message advises how to raise it
        raise BadLine("not JSON: an integer of too many digits") from error


def check_text(text: str) -> str:
    """Return `text`; raise an error for a text that is binary or cannot be written as UTF-8.

    Raises:
        BadLine: The text holds half a character (a lone surrogate) or a NUL character.
    """
    if problem := text_problem(text):
        raise BadLine(problem)
    return text


def text_problem(text: str) -> str | None:
    """Return the reason why a text cannot be used; None for a usable text."""
    if "\0" in text:
        return "holds NUL characters, so it is no text, or text in UTF-16"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half a character (a lone surrogate)"
    return None
