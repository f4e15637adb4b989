"""Read text records from the content of one file: text, HTML, JSON lines, notebook, PDF, table.

The suffix decides how a file is read. This file does not handle domains or limits.
"""

import gzip
import html
import importlib
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import PurePosixPath
from typing import Any

from constellation.curricula.json_lines import BadLine, check_text, parse_line, text_problem
from constellation.curricula.table_columns import BadTable, read_parquet, read_separated

# fmt: off
TEXT_SUFFIXES = frozenset({
    ".txt", ".md", ".rst", ".tex",
    ".c", ".cc", ".cpp", ".css", ".go", ".h", ".hpp", ".java", ".jl", ".js", ".json", ".kt",
    ".lua", ".php", ".pl", ".proto", ".py", ".pyi", ".r", ".rb", ".rs", ".sh", ".sql", ".swift",
    ".toml", ".ts", ".xml", ".yaml", ".yml",
})
# fmt: on
"""Suffixes of plain text. A file with another suffix is read if it looks like text (`is_text`)."""

HEAD_BYTES = 65_536
"""Number of a file's first bytes that usually show whether the file is text."""

_TAG = re.compile(r"<[^<>]*>?")

_TABLE_SUFFIX = ".parquet"
_LINES_SUFFIX = ".jsonl"

# Bytes that text never holds; escape is allowed, since it colours the lines of logs.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


class Unreadable(Exception):
    """A whole file cannot be read as text; the message gives the reason."""


class NotText(Exception):
    """A file with an unknown suffix does not hold text."""


class TooLarge(Exception):
    """An unpacked file has more bytes than the limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One text of a file, or the reason why the record could not be read."""

    text: str = ""
    domain: str | None = None
    """Domain that the record itself names; None without one."""
    source: str | None = None
    """Source that the record itself names, as records of a prepared corpus do; None without one."""
    part: int = 0
    """Index of the piece within its source, from 0."""
    line: int | None = None
    """Line of a JSON-lines file or row of a table, from 1; None for a whole file."""
    problem: str | None = None
    """Reason why the record cannot be read; None when it can."""


def suffix_of(name: str) -> str:
    """Return the suffix that decides how a file is read, in lower case: ".txt" for a.txt.gz."""
    return PurePosixPath(name.lower().removesuffix(".gz")).suffix


def is_known(name: str) -> bool:
    """Return whether files with this suffix always hold text."""
    return suffix_of(name) in TEXT_SUFFIXES | _READERS.keys() | {_TABLE_SUFFIX}


def is_text(data: bytes, *, is_whole: bool = True) -> bool:
    """Return whether bytes are UTF-8 without control characters.

    Args:
        data: Content of a file, or its first bytes.
        is_whole: Whether `data` is the whole content; if not, it may end inside a character.
    """
    if _CONTROL.search(data):
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return not is_whole and error.start > len(data) - 4
    return True


def unpack(name: str, data: bytes, *, bytes_max: int) -> bytes:
    """Return the content of a file; a `.gz` file is unpacked.

    Raises:
        Unreadable: The file is damaged.
        TooLarge: The file holds more than `bytes_max`.
    """
    if not name.lower().endswith(".gz"):
        return data
    try:
        with gzip.open(io.BytesIO(data)) as file:
            content = file.read(bytes_max + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(f"damaged gzip: {error}") from error
    if len(content) > bytes_max:
        raise TooLarge
    return content


def read_records(name: str, data: bytes, *, text_column: str | None = None) -> Iterator[Record]:
    """Yield the records of a file in order.

    Args:
        name: Name of the file; its suffix decides how the file is read.
        data: Unpacked content of the file.
        text_column: Column of tables to read; None reads `.csv` and `.tsv` as plain text.

    Raises:
        Unreadable: The whole file cannot be read, such as text that is not UTF-8.
        NotText: The suffix is unknown, and the content is not text.
    """
    suffix = suffix_of(name)
    if not is_known(name) and not is_text(data):
        raise NotText
    if suffix == _TABLE_SUFFIX:
        yield from _rows(read_parquet(data, text_column))
    elif suffix in (".csv", ".tsv") and text_column is not None:
        separator = "," if suffix == ".csv" else "\t"
        yield from _rows(read_separated(_decode(data), text_column, separator=separator))
    else:
        yield from _READERS.get(suffix, _read_text)(data)


def _decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 at byte {error.start}") from error
    if problem := text_problem(text):
        raise Unreadable(problem)
    return text


def _read_text(data: bytes) -> Iterator[Record]:
    yield Record(text=_decode(data))


def _read_html(data: bytes) -> Iterator[Record]:
    parser = _TextOfHtml()
    try:
        parser.feed(_decode(data))
        parser.finish()
    except AssertionError as error:  # the parser's error for some damaged declarations
        raise Unreadable(f"damaged HTML: {error}") from error
    yield Record(text="".join(parser.pieces))


def is_lines(name: str) -> bool:
    """Return whether a file is read line by line, without being unpacked first."""
    return PurePosixPath(name.lower()).suffix == _LINES_SUFFIX


def read_lines(lines: Iterable[bytes]) -> Iterator[Record]:
    """Yield the records of a JSON-lines file, whose damaged lines are records with a problem."""
    for number, raw in enumerate(lines, start=1):
        if raw.strip():
            yield _json_record(raw, number)


def _read_json_lines(data: bytes) -> Iterator[Record]:
    return read_lines(io.BytesIO(data))


def _json_record(raw: bytes, line: int) -> Record:
    try:
        return _record_of(parse_line(raw), line)
    except BadLine as bad:
        return Record(line=line, problem=str(bad))


def _record_of(entry: Any, line: int) -> Record:
    if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
        raise BadLine('no "text" entry that is a string')
    metadata = entry.get("metadata")
    part = entry.get("part")
    return Record(
        text=check_text(entry["text"]),
        domain=_word(metadata.get("domain")) if isinstance(metadata, dict) else None,
        source=_word(entry.get("source")),
        part=part if type(part) is int and part >= 0 else 0,
        line=line,
    )


def _word(value: Any) -> str | None:
    """Return a name from a record; None when the record has no such name."""
    return check_text(value) if isinstance(value, str) and value else None


def _read_notebook(data: bytes) -> Iterator[Record]:
    """Yield the cells of a notebook as one text, without their outputs."""
    try:
        entry = json.loads(_decode(data))
        cells = ["".join(cell["source"]) for cell in entry["cells"]]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise Unreadable(f"no notebook with cells: {error}") from error
    text = "\n\n".join(cells)
    if problem := text_problem(text):
        raise Unreadable(problem)
    yield Record(text=text)


def _read_pdf(data: bytes) -> Iterator[Record]:
    try:
        pypdf: Any = importlib.import_module("pypdf")
    except ModuleNotFoundError as error:
        raise Unreadable("PDF needs the package pypdf: pip install pypdf") from error
    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(data)).pages]
    except Exception as error:  # damaged files raise errors of every kind there
        raise Unreadable(f"damaged PDF: {error}") from error
    text = "\n\n".join(pages)
    if problem := text_problem(text):
        raise Unreadable(problem)
    yield Record(text=text)


def _rows(texts: Iterator[str]) -> Iterator[Record]:
    try:
        for number, text in enumerate(texts, start=1):
            problem = text_problem(text)
            yield (
                Record(line=number, problem=problem) if problem else Record(line=number, text=text)
            )
    except BadTable as bad:
        raise Unreadable(str(bad)) from bad


class _TextOfHtml(HTMLParser):
    """Collects the visible text of an HTML page."""

    _HIDDEN = frozenset({"script", "style", "template", "noscript"})
    _REST_CHARS_MAX = 1000
    _BLOCKS = frozenset({"p", "div", "br", "li", "tr", "pre", "h1", "h2", "h3", "h4", "h5", "h6"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden_depth = 0

    def finish(self) -> None:
        """Add the remaining text of a page that ends inside a tag or a comment.

        The parser scans the remaining text again from every `<` in it, so tags of a long remainder
        are stripped here.
        """
        rest: str = self.rawdata
        if len(rest) > self._REST_CHARS_MAX:
            self.rawdata = ""
            self.handle_data(html.unescape(_TAG.sub("", rest)))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden_depth += tag in self._HIDDEN
        if tag in self._BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._HIDDEN:
            self._hidden_depth = max(0, self._hidden_depth - 1)
        if tag in self._BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden_depth:
            self.pieces.append(data)


_READERS: dict[str, Callable[[bytes], Iterator[Record]]] = {
    ".html": _read_html,
    ".htm": _read_html,
    ".ipynb": _read_notebook,
    _LINES_SUFFIX: _read_json_lines,
    ".pdf": _read_pdf,
}
