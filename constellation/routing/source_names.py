"""Names of the sources of a kernel's text: the parts of a file, and the names nearest to another.

A long file is cut into sections, `act1.txt#0`, `act1.txt#1`, and the records of a JSON-lines file
are sources of their own, `plays.jsonl:7`. Both belong to the file whose name they begin with.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Final

_PART: Final = re.compile(r"(:\d+)?(#\d+)?")


def parts_of(source: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the sources that a name stands for, in their order.

    Args:
        source: Name of a source, which then stands for itself alone, or of a file of several.
        names: All sources there are.
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
    """Return the names that are most like a wanted one, the likest first.

    A name of which the wanted one is a part counts as the likest.
    """
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)

    def unlikeness(name: str) -> tuple[bool, float, str]:
        matcher.set_seq1(name)
        return (wanted.lower() not in name.lower(), -matcher.ratio(), name)

    return tuple(sorted(names, key=unlikeness)[:most])
