"""Read a corpus of domains and split it by document.

A domain is a sub-folder (each text file in it, at any depth, is a document) or a file (`.jsonl` has
one document a line). A domain of fewer than 10 documents, or of mostly short ones, is joined and
cut at blank lines into pieces of about 8,000 characters, smaller where there is little text, so
that it has about 20 at least. No document is in two splits.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

PIECE_CHARACTERS = (500, 8_000)
PIECES = 20
DOCUMENTS_MIN = 10
SHORT_CHARACTERS = 1_000
SHARES = {"test": 0.2, "dev": 0.1}


@dataclass(frozen=True, slots=True)
class Split:
    """Documents of one split and their domains' numbers."""

    texts: list[str]
    domains: list[int]


def read_domains(folder: Path) -> dict[str, list[str]]:
    """Return domain -> documents, domains in alphabetical order.

    Raises:
        SystemExit: When fewer than two domains have text for a split.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        documents = [text for file in files for text in _documents(file)]
        documents = list(dict.fromkeys(text for text in documents if text.strip()))
        num_long = sum(len(text) >= SHORT_CHARACTERS for text in documents)
        if len(documents) < DOCUMENTS_MIN or num_long < len(documents) / 2:
            documents = cut("\n\n".join(documents))
        if len(documents) >= 3:
            found[path.stem if path.is_file() else path.name] = documents
    if len(found) < 2:
        raise SystemExit(f"{folder}: need at least two sub-folders or files with text")
    return found


def _documents(path: Path) -> list[str]:
    if not path.is_file() or path.name.startswith("."):
        return []
    data = path.read_bytes()
    if b"\0" in data[:4096]:
        return []
    text = data.decode("utf-8", errors="replace")
    if path.suffix != ".jsonl":
        return [text]
    rows = (json.loads(line) for line in text.splitlines() if line.strip())
    return [str(row["text"]) for row in rows if isinstance(row, dict) and "text" in row]


def cut(text: str) -> list[str]:
    """Cut at blank lines into pieces; a paragraph of more than two pieces is cut hard."""
    smallest, largest = PIECE_CHARACTERS
    size = min(largest, max(smallest, len(text) // PIECES))
    pieces, current = [], ""
    for paragraph in text.split("\n\n"):
        current += paragraph + "\n\n"
        while len(current) >= size:
            end = min(len(current), 2 * size)
            pieces.append(current[:end])
            current = current[end:]
    return [*pieces, current] if current.strip() else pieces


def split_documents(domains: dict[str, list[str]], seed: int) -> dict[str, Split]:
    """Shuffle each domain's documents and deal 20 % to test, 10 % to dev, the rest to train."""
    splits = {name: Split([], []) for name in ("train", "dev", "test")}
    rng = random.Random(seed)
    for number, documents in enumerate(domains.values()):
        left = list(documents)
        rng.shuffle(left)
        for name, share in SHARES.items():
            count = max(1, round(share * len(documents)))
            _extend(splits[name], left[:count], number)
            left = left[count:]
        _extend(splits["train"], left, number)
    return splits


def _extend(split: Split, texts: list[str], number: int) -> None:
    split.texts.extend(texts)
    split.domains.extend([number] * len(texts))
