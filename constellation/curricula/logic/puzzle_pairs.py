"""Turn puzzles into pairs of prompt and answer, in three forms, and mix two of the forms."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from constellation.curricula.logic.formula_printer import print_compact, print_lines
from constellation.curricula.logic.puzzle_generator import Item
from constellation.curricula.logic.scaffolded_english import scaffolded_english
from constellation.errors import ConfigError


class Form(StrEnum):
    """How a puzzle is written as a prompt."""

    PURE = "pure"
    """Symbols only."""
    CHAT = "chat"
    """The same symbols as a user's message in the markup of ChatML."""
    SCAFFOLDED = "scaffolded"
    """English: legend, premises in words, question in words."""


class Surface(StrEnum):
    """Which surface the symbols of forms `pure` and `chat` have."""

    COMPACT = "compact"
    LINES = "lines"


@dataclass(frozen=True, kw_only=True, slots=True)
class PuzzlePair:
    """A prompt and its answer, with the puzzle that they come from."""

    prompt: str
    answer: str
    """The symbol of the answer; in form `scaffolded` a reason may follow on the same line."""
    family: str
    form: Form
    identity: str
    """Equal for puzzles that are equal up to renaming."""
    puzzle: str
    """Compact form."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendering:
    """Choices of how puzzles are written."""

    form: Form = Form.PURE
    surface: Surface = Surface.COMPACT
    with_reason: bool = False
    """In form `scaffolded`, name the rule after the answer."""


def make_pair(item: Item, rendering: Rendering) -> PuzzlePair:
    """Return the pair of one puzzle."""
    answer = item.answer
    if rendering.form is Form.SCAFFOLDED:
        prompt = scaffolded_english(item.puzzle)
        if rendering.with_reason:
            answer += f" by {item.family.replace('_', ' ')}"
    else:
        is_lines = rendering.surface is Surface.LINES
        prompt = (print_lines if is_lines else print_compact)(item.puzzle)
        if rendering.form is Form.CHAT:
            prompt = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
    return PuzzlePair(
        prompt=prompt,
        answer=answer,
        family=item.family,
        form=rendering.form,
        identity=item.identity,
        puzzle=print_compact(item.puzzle),
    )


def mix_pairs(
    items: Sequence[Item], *, pure_share: float, rendering: Rendering
) -> list[PuzzlePair]:
    """Return one pair of each puzzle: a share of them pure, the others scaffolded.

    Every share has the same puzzles in the same order. The puzzles are ranked by the hash of their
    identity, so that those which are pure at one share are pure at each larger share.

    Raises:
        ConfigError: The share is not in [0, 1].
    """
    if not 0 <= pure_share <= 1:
        raise ConfigError(f"pure_share is {pure_share}; give a share in [0, 1]")
    ranked = sorted(items, key=lambda item: hashlib.sha256(item.identity.encode()).digest())
    pure = {item.identity for item in ranked[: round(pure_share * len(ranked))]}
    return [
        make_pair(
            item,
            Rendering(
                form=Form.PURE if item.identity in pure else Form.SCAFFOLDED,
                surface=rendering.surface,
                with_reason=rendering.with_reason,
            ),
        )
        for item in items
    ]
