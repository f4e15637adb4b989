"""Read the queries of a file: its lines, or the records of a file in JSON lines.

A file named `.jsonl` or `.ndjson` holds a record a line, with the text under `prompt` or `text`;
in every other file a line is a text. It must not know where a text goes.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from constellation.errors import CorpusError

TEXT_BYTES_MAX: Final = 1024 * 1024
"""Largest text that a router reads; a test compares it with the router's."""
RECORD_SUFFIXES: Final = (".jsonl", ".ndjson")
FIELDS: Final = ("prompt", "text")

# A character of a record may take six bytes (\\u0041) for each of its own.
_LINE_BYTES_MAX = 8 * TEXT_BYTES_MAX


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A line of the file."""

    line: int
    """Its number in the file, from 1."""
    text: str | None
    """None for a line without a text that a router accepts: it is empty or over 1 MiB."""


def read_queries(path: Path) -> Iterator[Query]:
    """Return the queries of a file in their order, of which one at a time is in memory.

    Args:
        path: Of text in UTF-8.

    Raises:
        CorpusError: The file cannot be read; later, a line is not UTF-8 or no record of a text.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise CorpusError(path, f"cannot be read: {error.strerror}") from error
    return _queries(path)


def _queries(path: Path) -> Iterator[Query]:
    records = path.suffix.lower() in RECORD_SUFFIXES
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(_lines(file), start=1):
                text = None if raw is None else _text(path, number, raw, records)
                yield Query(line=number, text=text if _is_accepted(text) else None)
    except OSError as error:
        raise CorpusError(path, f"cannot be read: {error.strerror}") from error


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield lines without their ends; None for one that is too long to be kept."""
    while raw := file.readline(_LINE_BYTES_MAX):
        whole = raw.endswith(b"\n") or len(raw) < _LINE_BYTES_MAX
        rest = raw
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(_LINE_BYTES_MAX)
        yield raw.removesuffix(b"\n").removesuffix(b"\r") if whole else None


def _text(path: Path, number: int, raw: bytes, records: bool) -> str | None:
    try:
        line = raw.decode()
    except UnicodeDecodeError as error:
        raise CorpusError(path, f"line {number} is not UTF-8 at byte {error.start}") from error
    return _field(path, number, line) if records and line.strip() else line


def _field(path: Path, number: int, line: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(path, f"line {number} is not JSON: {error}") from error
    found = [record[name] for name in FIELDS if isinstance(record, dict) and name in record]
    if not found or not isinstance(found[0], str):
        raise CorpusError(path, f"line {number} has no text under {' or '.join(FIELDS)}")
    return found[0]


def _is_accepted(text: str | None) -> bool:
    try:
        return text is not None and 0 < len(text.encode()) <= TEXT_BYTES_MAX
    except UnicodeEncodeError:  # half a character cannot be sent
        return False
