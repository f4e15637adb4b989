"""Decide which puzzles are learned and which are held out, without leakage up to renaming.

The split of a trained family's puzzle follows from the hash of its *split key*. The key is equal
for puzzles that are equal up to renaming and the order of premises, and for two comparisons of the
same two glyphs, so that such puzzles are always on the same side, whatever family drew them.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from constellation.curricula.logic.family_catalog import LONGER_CHAINS, NEW_CONNECTIVE
from constellation.curricula.logic.formula_tree import Comparison, Glyph, Puzzle
from constellation.curricula.logic.puzzle_draft import Family
from constellation.curricula.logic.puzzle_generator import Item, generate_items
from constellation.curricula.logic.renaming import shape
from constellation.errors import ConfigError

TRAIN: Final = "train"
HELD_OUT: Final = "held_out"
SPLITS: Final = (TRAIN, HELD_OUT, LONGER_CHAINS, NEW_CONNECTIVE)

_HASH_VALUES: Final = 2**64


def split_key(puzzle: Puzzle) -> str:
    """Return the text that decides the split of a puzzle."""
    match puzzle.query:
        case Comparison(_, Glyph(left), Glyph(right)) if not puzzle.premises:
            return "".join(sorted((left, right)))
    return shape(puzzle)


def is_held_out(key: str, *, share: float) -> bool:
    """Return whether the puzzles with a split key are held out; `share` of all keys are."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * _HASH_VALUES


def generate_splits(
    families: Iterable[Family], count: int, *, held_out_share: float, seed: int
) -> dict[str, list[Item]]:
    """Return generated puzzles by split, each puzzle once.

    A trained family's puzzle with the split key of a puzzle of `longer_chains` or `new_connective`
    is left out, and so is a puzzle that an earlier family has drawn.

    Args:
        families: Rule families.
        count: Puzzles of each family, train and held out together, 1 to 100,000.
        held_out_share: Share of the split keys that are held out, in (0, 1).
        seed: Equal seeds give equal puzzles.

    Raises:
        ConfigError: A value is out of range, or a family has too few puzzles.
    """
    if not 1 <= count <= 100_000:
        raise ConfigError(f"count is {count}; give 1 to 100,000 puzzles of each family")
    if not 0 < held_out_share < 1:
        raise ConfigError(f"held_out_share is {held_out_share}; give a share in (0, 1)")
    splits: dict[str, list[Item]] = {name: [] for name in SPLITS}
    identities: set[str] = set()
    reserved: set[str] = set()
    for family in sorted(families, key=lambda family: family.split is None):
        for item in generate_items(family, count, seed=seed):
            key = split_key(item.puzzle)
            if item.identity in identities or (family.split is None and key in reserved):
                continue
            identities.add(item.identity)
            if family.split is not None:
                reserved.add(key)
            side = HELD_OUT if is_held_out(key, share=held_out_share) else TRAIN
            splits[family.split or side].append(item)
    return splits
