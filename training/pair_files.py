"""Pairs of prompt and answer in a JSON-lines file, and which of them are held out."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from constellation.errors import CorpusError, UnknownSymbol
from constellation.kernel.files.symbol_vocabulary import SymbolVocabulary

PAIRS_MAX: Final = 2**20
"""Most pairs of a file."""

_HASH_VALUES: Final = 2**64


@dataclass(frozen=True, slots=True)
class Pair:
    """What is asked and what is to be answered."""

    prompt: str
    """At least one character."""
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitPairs:
    """Pairs that are learned, and those that are held out."""

    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """Return the pairs of a JSON-lines file, one object with "prompt" and "answer" a line.

    Raises:
        CorpusError: The file cannot be read, holds no pair or over 1,048,576, or a line is no pair;
            names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(path, f"cannot be read: {error}") from error
    pairs = tuple(_pair(path, number, line) for number, line in enumerate(lines, 1) if line.strip())
    if not 1 <= len(pairs) <= PAIRS_MAX:
        raise CorpusError(path, f"holds {len(pairs)} pairs; give 1 to {PAIRS_MAX}, one a line")
    return pairs


def split_pairs(path: Path, pairs: Iterable[Pair], *, held_out_share: float) -> SplitPairs:
    """Share pairs out by the hash of their prompts: equal prompts are on the same side.

    Args:
        path: Of the file, for errors.
        pairs: All of them.
        held_out_share: Of the pairs, about, in (0, 1).

    Raises:
        CorpusError: One side would be empty.
    """
    sides: tuple[list[Pair], list[Pair]] = ([], [])
    for pair in pairs:
        digest = hashlib.sha256(pair.prompt.encode()).digest()
        sides[int.from_bytes(digest[:8], "big") < held_out_share * _HASH_VALUES].append(pair)
    train, held_out = (tuple(side) for side in sides)
    if not train or not held_out:
        raise CorpusError(
            path,
            f"{len(train)} pairs are left to learn from and {len(held_out)} are held out; give "
            "more pairs with different prompts, or another pairs.held_out_share",
        )
    return SplitPairs(train=train, held_out=held_out)


def encode_pairs(
    path: Path, pairs: Sequence[Pair], vocabulary: SymbolVocabulary
) -> list[tuple[list[int], list[int]]]:
    """Return the ids of prompts and answers.

    Raises:
        CorpusError: A pair has a symbol that the vocabulary lacks; names both.
    """
    encoded = []
    for pair in pairs:
        try:
            encoded.append((vocabulary.encode(pair.prompt), vocabulary.encode(pair.answer)))
        except UnknownSymbol as error:
            raise CorpusError(path, f"the pair with the prompt {pair.prompt!r}: {error}") from error
    return encoded


def _pair(path: Path, number: int, line: str) -> Pair:
    try:
        values = json.loads(line)
        prompt, answer = values["prompt"], values["answer"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(path, f"line {number} is no pair ({error!r})") from error
    if not (isinstance(prompt, str) and isinstance(answer, str) and prompt):
        raise CorpusError(
            path, f'line {number}: "prompt" and "answer" must be texts, and "prompt" not empty'
        )
    return Pair(prompt, answer)
