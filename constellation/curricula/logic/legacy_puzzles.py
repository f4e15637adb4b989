"""A named set of 27 puzzles, which stays the same, with flags of overlap with a training set."""

from collections.abc import Container
from typing import Final

from constellation.curricula.logic.prover import prove
from constellation.curricula.logic.puzzle_generator import Item
from constellation.curricula.logic.puzzle_parser import parse_compact
from constellation.curricula.logic.renaming import identity

LEGACY: Final[dict[str, tuple[str, ...]]] = {
    "basic": ("P→Q,P?Q", "P→Q,Q?P", "P→Q,Q:⊥?P"),
    "negation": ("P:⊥?¬P", "¬¬P?P", "P:◑?¬P"),
    "and": ("P∧Q?P", "P,Q?P∧Q", "P,Q:⊥?P∧Q"),
    "or": ("P?P∨Q", "P∨Q,P:⊥?Q", "P∨Q?P"),
    "chain": ("A→B→C,A?C", "A→B,B→C,C→D,A?D", "A→B,C→D,A?D"),
    "set": ("S={a,b,c}?a∈S", "S={a,b,c}?d∈S"),
    "chess": ("?valid:e4", "?valid:i9"),
    "contradiction": ("P,¬P?consistent", "A:●,A→B,B:⊥?C"),
    "biconditional": ("P↔Q,P?Q", "P↔Q,Q:⊥?P"),
    "quantifier": (
        "∀x:P(x),a?P(a)",
        "S={a,b},P(a)?∃x∈S:P(x)",
        "S={a,b},P(a)?∀x∈S:P(x)",
        "∀x:P(x)→Q(x),P(a)?Q(a)",
    ),
}
"""Group -> its puzzles in compact form."""


def legacy_items() -> list[Item]:
    """Return the puzzles with their proved answers; the families are `legacy_basic` and so on."""
    items = []
    for group, texts in LEGACY.items():
        for puzzle in map(parse_compact, texts):
            items.append(
                Item(
                    family=f"legacy_{group}",
                    puzzle=puzzle,
                    answer=prove(puzzle).answer,
                    identity=identity(puzzle),
                )
            )
    return items


def overlaps(items: list[Item], learned: Container[str]) -> list[bool]:
    """Return, for each item, whether the same puzzle up to renaming is learned.

    Args:
        items: Puzzles.
        learned: Identities of the training set.
    """
    return [item.identity in learned for item in items]
