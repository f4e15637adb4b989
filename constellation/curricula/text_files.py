"""Read files of prompts, one per line, and write texts as JSON lines for `read_corpus`."""

import json
from collections.abc import Iterable
from pathlib import Path

from constellation.atomic_files import write_whole
from constellation.errors import CorpusError


def read_prompts(path: Path) -> list[str]:
    """Return the lines of a text file with a visible character, without line breaks.

    Raises:
        CorpusError: The file cannot be read, is not UTF-8, or holds no prompt.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise CorpusError(path, f"it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CorpusError(path, f"it is not UTF-8 at byte {error.start}") from error
    if "\0" in "".join(lines):
        raise CorpusError(path, "it holds NUL characters, so it is no text, or text in UTF-16")
    prompts = [line for line in lines if line.strip()]
    if not prompts:
        raise CorpusError(path, "it holds no prompt; write one per line")
    return prompts


def write_records(path: Path, texts: Iterable[str]) -> None:
    """Write JSON lines with one "text" each; after a failure the old file is unchanged.

    Raises:
        CorpusError: The file cannot be written.
    """
    lines = (json.dumps({"text": text}, ensure_ascii=False) for text in texts)
    write_lines(path, lines)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines, each with a line break; after a failure the old file is unchanged.

    Raises:
        CorpusError: The file cannot be written.
    """
    try:
        write_whole(path, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise CorpusError(path, f"it cannot be written: {error.strerror}") from error
