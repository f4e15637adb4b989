"""Read one column of a `.csv`, `.tsv` or `.parquet` table as texts."""

import csv
import importlib
import io
import sys
from collections.abc import Iterator
from typing import Any

TEXT_COLUMN = "text"
"""Column of a parquet file that is read when no column is named."""


class BadTable(Exception):
    """A table cannot be read, or has no column of this name; the message gives the reason."""


def read_separated(text: str, column: str, *, separator: str) -> Iterator[str]:
    """Yield a column of comma- or tab-separated values; the first row names the columns.

    Raises:
        BadTable: There is no column of this name, or a row cannot be read.
    """
    csv.field_size_limit(sys.maxsize)  # one field may be a whole text; the file's size is limited
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        place = _place(next(rows, []), column)
        for row in rows:
            yield row[place] if place < len(row) else ""
    except csv.Error as error:
        raise BadTable(f"line {rows.line_num} is no row of a table: {error}") from error


def read_parquet(data: bytes, column: str | None) -> Iterator[str]:
    """Yield a column of a parquet file, "text" by default; a missing value becomes "".

    Raises:
        BadTable: The package pyarrow is not installed, the file is damaged, or it has no text
            column of this name.
    """
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise BadTable("parquet needs the package pyarrow: pip install pyarrow") from error
    wanted = column or TEXT_COLUMN
    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        _place(file.schema_arrow.names, wanted)
        for batch in file.iter_batches(columns=[wanted]):
            yield from (_text(value) for value in batch.column(0).to_pylist())
    except BadTable:
        raise
    except Exception as error:  # pyarrow's errors have no common base but this
        raise BadTable(f"damaged parquet: {error}") from error


def _place(names: list[str], column: str) -> int:
    if column not in names:
        listed = ", ".join(names[:20]) or "none"
        raise BadTable(f"no column {column!r}; name one by corpus.text_column: {listed}")
    return names.index(column)


def _text(value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise BadTable(f"the column holds {type(value).__name__}, not text")
    return value or ""
