"""The section of a recipe that says which pairs of prompt and answer to learn from."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from training.recipe_running import Section, Share


class PairsSection(Section):
    """Pairs of prompt and answer, and the symbols that they are made of."""

    file: Path = Field(
        description='JSON-lines file, one {"prompt": ..., "answer": ...} a line; relative to where '
        "the command runs."
    )
    vocabulary: Path = Field(
        description='JSON file with the kernel\'s symbols: "characters", each once, and '
        '"special", names of symbols that are no text, "end" first.'
    )
    held_out_share: Share = Field(
        default=0.1, description="Share of the pairs that is held out, by the hash of the prompt."
    )
    loss: Literal["answer", "whole"] = Field(
        default="answer", description="Learn the answer's symbols, or the prompt's too."
    )
    learn_end: bool = Field(
        default=True, description="Learn where an answer ends, so that the kernel stops by itself."
    )
    questions_max: int = Field(
        default=256, ge=1, description="Held-out prompts that are answered when training is over."
    )
    exact_min: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of them that must be answered exactly, or there is no kernel.",
    )
