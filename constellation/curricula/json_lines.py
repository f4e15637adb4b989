"""Read one line of a JSON-lines file; the one parser that all readers share."""

import json
from typing import Any

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class BadLine(Exception):
    """A line is not JSON, or what the line holds cannot be used; the message says why."""


def parse_line(raw: bytes) -> Any:
    """Return the JSON value that a line of UTF-8 holds; a byte-order mark is passed over.

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
    except ValueError as error:  # Python's limit, which says how Python raises it
        raise BadLine("not JSON: an integer of too many digits") from error


def check_text(text: str) -> str:
    """Return `text`, or refuse one that cannot be written as UTF-8 or is no text.

    Raises:
        BadLine: The text holds half a character (a lone surrogate) or a NUL character.
    """
    if problem := text_problem(text):
        raise BadLine(problem)
    return text


def text_problem(text: str) -> str | None:
    """Return why a text cannot be used; None when the text can."""
    if "\0" in text:
        return "holds NUL characters, so it is no text, or text in UTF-16"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half a character (a lone surrogate)"
    return None
