"""Short queries for load: pieces of the test documents of a constellation's own corpus."""

import json
from itertools import cycle, islice
from pathlib import Path

CHARACTERS = 240
"""Characters of one query: about 64 tokens of the starter constellation."""


def query_texts(artifacts: Path, count: int) -> list[str]:
    """Return `count` queries of all domains in turn; fewer different ones when text is short.

    Args:
        artifacts: An artifacts folder with corpus/test.jsonl, documents that no fit has used.
        count: Number of queries, at least 1.
    """
    lines = (artifacts / "corpus" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    pieces = [_pieces(str(json.loads(line)["text"])) for line in lines]
    longest = max(map(len, pieces))
    turns = [each[turn] for turn in range(longest) for each in pieces if turn < len(each)]
    return list(islice(cycle(turns), count))


def _pieces(text: str) -> list[str]:
    """Cut a document; pieces of blanks alone are left out."""
    cut = (text[start : start + CHARACTERS] for start in range(0, len(text), CHARACTERS))
    return [piece for piece in cut if piece.strip()]
