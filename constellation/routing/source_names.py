"""Look up sources of a kernel's text by name: all parts of a file, and similar names.

A long file is cut into sections, `act1.txt#0`, `act1.txt#1`, and the records of a JSON-lines file
are sources of their own, `plays.jsonl:7`. Both belong to the file with whose name they begin.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Final

_PART: Final = re.compile(r"(:\d+)?(#\d+)?")


def parts_of(source: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the sources that a name denotes, in their order.

    Args:
        source: Name of one source, or of a file that was cut into several sources.
        names: Names of all sources.
    """
    names = tuple(names)
    if source in names:
        return (source,)
    return tuple(
        name
        for name in names
        if name.startswith(source) and _PART.fullmatch(name, len(source)) is not None
    )


def nearest_names(wanted: str, names: Iterable[str], *, most: int) -> tuple[str, ...]:
    """Return the names most similar to a wanted name, the most similar first.

    A name that contains the wanted name counts as most similar.
    """
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)

    def unlikeness(name: str) -> tuple[bool, float, str]:
        matcher.set_seq1(name)
        return (wanted.lower() not in name.lower(), -matcher.ratio(), name)

    return tuple(sorted(names, key=unlikeness)[:most])
