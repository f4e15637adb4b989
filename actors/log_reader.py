"""Read the log of a member in parts: the last lines, and then what was added since."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PART_BYTES_MAX: Final = 2**18
"""Most bytes of one part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogPart:
    """Whole lines of a log."""

    text: str
    """Lines, each ended by a line feed; bytes that are no UTF-8 are replaced."""
    offset: int
    """Bytes of the file up to the end of these lines: where the next part begins."""


def tail(path: Path, *, num_lines: int) -> LogPart:
    """Return the last lines of a log, of its last `PART_BYTES_MAX` bytes at most.

    A missing file has no lines.
    """
    size = _size(path)
    part = follow(path, max(0, size - PART_BYTES_MAX))
    lines = part.text.splitlines(keepends=True)
    if size > PART_BYTES_MAX:  # the first line may be half a line
        lines = lines[1:]
    return LogPart(text="".join(lines[-num_lines:] if num_lines else ()), offset=part.offset)


def follow(path: Path, offset: int) -> LogPart:
    """Return the whole lines after `offset`, at most `PART_BYTES_MAX` bytes of them.

    A file that is shorter than `offset` was replaced, and is read from its beginning. A line longer
    than a part is cut.
    """
    size = _size(path)
    start = offset if 0 <= offset <= size else 0
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(PART_BYTES_MAX)
    except FileNotFoundError:
        return LogPart(text="", offset=0)
    end = data.rfind(b"\n") + 1
    if not end and len(data) == PART_BYTES_MAX:
        end = len(data)
    return LogPart(text=data[:end].decode(errors="replace"), offset=start + end)


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
