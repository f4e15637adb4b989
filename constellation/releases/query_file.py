"""Read a file of queries to replay: one text per line, or one record per line (JSON lines).

In a file named `.jsonl` or `.ndjson` every line is a record with the text under `prompt` or `text`;
in every other file a line is a text. This file does not route the queries.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from constellation.errors import CorpusError

TEXT_BYTES_MAX: Final = 1024 * 1024
"""Longest text in bytes that a router accepts; a test compares it with the router's limit."""
RECORD_SUFFIXES: Final = (".jsonl", ".ndjson")
FIELDS: Final = ("prompt", "text")

# JSON may write each byte of a text as up to six bytes (\\u0041).
_LINE_BYTES_MAX = 8 * TEXT_BYTES_MAX


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """One line of a file of queries."""

    line: int
    """Line number in the file, from 1."""
    text: str | None
    """Text of the query; None for a line that a router would refuse: empty or over 1 MiB."""


def read_queries(path: Path) -> Iterator[Query]:
    """Yield the queries of a UTF-8 file in order, with one query at a time in memory.

    Raises:
        CorpusError: The file cannot be read; during iteration: a line is not UTF-8, or not a record
            with a text.
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
    """Yield lines without line ends; None for a line that is too long to keep."""
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
    except UnicodeEncodeError:  # a lone surrogate cannot be sent
        return False
