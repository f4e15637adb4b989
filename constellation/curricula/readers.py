"""Turn one file into text records, by its suffix. Knows nothing of domains or limits."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from constellation.curricula.json_lines import BadLine, check_text, parse_line

# fmt: off
TEXT_SUFFIXES = frozenset({
    ".txt", ".md", ".rst", ".tex",
    ".c", ".cc", ".cpp", ".css", ".go", ".h", ".hpp", ".java", ".jl", ".js", ".json", ".kt",
    ".lua", ".php", ".pl", ".proto", ".py", ".pyi", ".r", ".rb", ".rs", ".sh", ".sql", ".swift",
    ".toml", ".ts", ".xml", ".yaml", ".yml",
})
# fmt: on


class Unreadable(Exception):
    """A file as a whole cannot be turned into text; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One text of a file, or the reason why it could not be read."""

    text: str = ""
    domain: str | None = None
    """Domain named by the record itself, if any."""
    source: str | None = None
    """Source named by the record itself, as the records of a prepared corpus do."""
    part: int = 0
    """Index of the piece within that source, from 0."""
    line: int | None = None
    """Line of a JSON-lines file, from 1; None for a whole file."""
    problem: str | None = None
    """Why the record cannot be read; None when it can."""


def is_known(path: Path) -> bool:
    """Return whether files with this suffix can be read."""
    suffix = path.suffix.lower()
    return suffix in TEXT_SUFFIXES or suffix in _READERS


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a file in order.

    Raises:
        Unreadable: The file as a whole cannot be read, such as text that is not UTF-8.
        OSError: The file cannot be opened.
    """
    reader = _READERS.get(path.suffix.lower(), _read_text)
    yield from reader(path)


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 at byte {error.start}") from error


def _read_text(path: Path) -> Iterator[Record]:
    yield Record(text=_decode(path.read_bytes()))


def _read_html(path: Path) -> Iterator[Record]:
    parser = _TextOfHtml()
    parser.feed(_decode(path.read_bytes()))
    parser.close()
    yield Record(text="".join(parser.pieces))


def _read_json_lines(path: Path) -> Iterator[Record]:
    for number, raw in enumerate(path.read_bytes().split(b"\n"), start=1):
        if raw.strip():
            yield _json_record(raw, number)


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
    """Return a name that a record gives; None when there is none."""
    return check_text(value) if isinstance(value, str) and value else None


def _read_pdf(path: Path) -> Iterator[Record]:
    try:
        pypdf: Any = importlib.import_module("pypdf")
    except ModuleNotFoundError as error:
        raise Unreadable("PDF needs the package pypdf: pip install pypdf") from error
    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(path).pages]
    except (pypdf.errors.PyPdfError, ValueError, KeyError) as error:
        raise Unreadable(f"damaged PDF: {error}") from error
    yield Record(text="\n\n".join(pages))


class _TextOfHtml(HTMLParser):
    """Collects the visible text of a page."""

    _HIDDEN = frozenset({"script", "style", "template", "noscript"})
    _BLOCKS = frozenset({"p", "div", "br", "li", "tr", "pre", "h1", "h2", "h3", "h4", "h5", "h6"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden_depth = 0

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


_READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    ".html": _read_html,
    ".htm": _read_html,
    ".jsonl": _read_json_lines,
    ".pdf": _read_pdf,
}
